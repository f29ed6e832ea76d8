# Made by packaging/shell_completions.py (make generated); don't change it here.
_memewatch_reply() {  # what to choose from, what was typed
    mapfile -t COMPREPLY < <(compgen -W "$1" -- "$2")
}
_memewatch_files() {  # -f or -d, what was typed
    compopt -o filenames
    mapfile -t COMPREPLY < <(compgen "$1" -- "$2")
}
_memewatch_value() {  # option, what was typed; false where it takes no value that is known here
    case "$1" in
    -n) : ;;
    --format) _memewatch_reply "text json print0 tsv rofi wofi" "$2" ;;
    --with) _memewatch_reply "rofi fuzzel wofi fzf" "$2" ;;
    --as) _memewatch_reply "auto png gif uri" "$2" ;;
    --max-px) : ;;
    --base) _memewatch_files -d "$2" ;;
    --name) : ;;
    --like) _memewatch_files -f "$2" ;;
    --min-score) : ;;
    --timeout) : ;;
    --model) _memewatch_reply "bundled siglip2 clip chinese-clip" "$2" ;;
    --milvus) _memewatch_files -f "$2" ;;
    --socket) _memewatch_files -f "$2" ;;
    --folder) _memewatch_files -d "$2" ;;
    --milvus-token-file) _memewatch_files -f "$2" ;;
    --state-dir) _memewatch_files -d "$2" ;;
    --config) _memewatch_files -f "$2" ;;
    --http) : ;;
    --http-token-file) _memewatch_files -f "$2" ;;
    --log-level) _memewatch_reply "debug info warning error" "$2" ;;
    --download) _memewatch_reply "bundled siglip2 clip chinese-clip" "$2" ;;
    *) return 1 ;;
    esac
}
_memewatch() {
    local typed=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]} command="" words i
    COMPREPLY=()
    if [[ $typed == '=' ]]; then
        typed=""
    elif [[ $before == '=' ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]}
    fi
    _memewatch_value "$before" "$typed" && return
    for ((i = 1; i < COMP_CWORD; i++)); do
        case "${COMP_WORDS[i]}" in
        -n|--format|--with|--as|--max-px|--base|--name|--like|--min-score|--timeout|--model|--milvus|--socket) i=$((i + 1)) ;;
        -*) ;;
        *) command=${COMP_WORDS[i]}; break ;;
        esac
    done
    case "$command" in
        "") words="search pick copy add tag import list status wait failed duplicates events rescan pause resume used forget-usage reindex --socket --version --help" ;;
        search) words="-n --format --json -0 --min-score --like --all-hosts --socket --help" ;;
        pick) words="--with --socket --help" ;;
        copy) words="--as --max-px --socket --help" ;;
        add) words="--clipboard --name --socket --help" ;;
        tag) words="--json --socket --help" ;;
        import) words="--base --socket --help" ;;
        list) words="--format --json -0 --socket --help" ;;
        status) words="--json --socket --help" ;;
        wait) words="--timeout --words --socket --help" ;;
        failed) words="--json -0 --socket --help" ;;
        duplicates) words="--json -0 --socket --help" ;;
        events) words="--json --socket --help" ;;
        rescan) words="--forget-missing --socket --help" ;;
        pause) words="--socket --help" ;;
        resume) words="--socket --help" ;;
        used) words="--socket --help" ;;
        forget-usage) words="--socket --help" ;;
        reindex) words="--model --milvus --socket --help" ;;
        *) return ;;
    esac
    if [[ $typed == -* || -z $command ]]; then
        _memewatch_reply "$words" "$typed"
    elif [[ $command == copy || $command == add || $command == tag || $command == import || $command == used ]]; then
        _memewatch_files -f "$typed"
    fi
}
_memewatchd() {
    local typed=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}
    COMPREPLY=()
    if [[ $typed == '=' ]]; then
        typed=""
    elif [[ $before == '=' ]]; then
        before=${COMP_WORDS[COMP_CWORD-2]}
    fi
    _memewatch_value "$before" "$typed" ||
        _memewatch_reply "--folder --socket --milvus --milvus-token-file --model --state-dir --config --http --http-token-file --log-level --download --check --reset --version -h --help" "$typed"
}
complete -F _memewatch memewatch
complete -F _memewatchd memewatchd
