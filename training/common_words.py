"""Writes memewatchd/search/common_words.txt from jieba's dict.txt (MIT) and the words of CC-CEDICT.

    python -m training.common_words DICT_TXT

DICT_TXT is in jieba 0.42.1's source distribution: ``pip download --no-deps --no-binary :all: jieba==0.42.1``.
"""

from __future__ import annotations

import math
import re
import sys
from collections import defaultdict
from pathlib import Path

from memewatchd.cedict import entries
from training.paths import ROOT

OUT = ROOT.parent / "memewatchd" / "search" / "common_words.txt"
RARE = 50
"""Words that were counted less often are left out."""

HEAD = """\
# Words of CC-CEDICT by how common they are: each line begins with twice the binary logarithm of how often its words
# were counted. The counts are those of jieba 0.42.1's dict.txt, which is
#   Copyright (c) 2013 Sun Junyi, under the MIT licence:
# Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
# documentation files (the "Software"), to deal in the Software without restriction, including without limitation the
# rights to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit
# persons to whom the Software is furnished to do so, subject to the following conditions: The above copyright notice
# and this permission notice shall be included in all copies or substantial portions of the Software.
# THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
# WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
# COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR
# OTHERWISE, ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.
"""


def main() -> None:
    known = {entry.simplified for entry in entries()}
    levels: dict[int, list[str]] = defaultdict(list)
    for line in Path(sys.argv[1]).read_text(encoding="utf-8").splitlines():
        word, count, _ = line.split(" ")
        if int(count) >= RARE and word in known and re.fullmatch(r"[\u3400-\u9fff〇]+", word):
            levels[round(2 * math.log2(int(count)))].append(word)
    lines = [f"{level} {' '.join(levels[level])}" for level in sorted(levels, reverse=True)]
    OUT.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
