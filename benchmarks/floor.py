"""Whether the bare encoder's floor can be lowered: fewer bits and other runtimes, each over float32 in torch.

    python benchmarks/floor.py [--models bundled b32 b16] [--variants bf16 ort …] [--pictures 64] [--rounds 8] [--busy]

Each variant of each model runs in a process of its own that has float32 in torch beside it: rounds of the two take
turns, each after a moment in which the other's threads have gone to sleep, and the best round of each counts. torch has
the heap that it has in the daemon. With --busy, for a machine that does other things too, each has one thread and what
counts is its processor time, which others don't take from it. Cosines are to float32's vectors, the best 10 those of
the same queries among the same pictures, with one tower changed and the other left. One is kept only where it is at
least 1.5 times as fast at cosines of 0.995 or more and the same best 10. ONNX Runtime and OpenVINO live in an
environment of their own under .run/, made with pip once, which shares this one's torch.

The CLIPs have random weights of the published shapes: they serve for the pace. What they say of cosines and of the
best 10 is said of random weights; the bundled model's are real, and so are those of a folder that is named as a model.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import material
import numpy as np
from rows import Report, Row, arguments

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

MODELS = {"bundled": "the bundled encoder", "b32": "a CLIP ViT-B/32", "b16": "a CLIP ViT-B/16"}
PATCHES = {"b32": 32, "b16": 16}
VARIANTS = {
    "last": "torch, float32, channels last",
    "products": "torch, float32 whose products are bfloat16",
    "autocast": "torch, bfloat16 by autocast",
    "bf16": "torch, bfloat16 weights",
    "int8": "torch, int8 linear layers, dynamic",
    "ort": "ONNX Runtime, float32",
    "ort-int8": "ONNX Runtime, int8, dynamic",
    "ov": "OpenVINO, float32",
    "ov-bf16": "OpenVINO, bfloat16",
}
BFLOAT16 = ("products", "autocast", "bf16", "ov-bf16")
ELSEWHERE = ("ort", "ort-int8", "ov", "ov-bf16")
TOWERS = ("pictures", "words")
FASTER, ALIKE = 1.5, 0.995
BEST = 10
ASKED = 8
"""Queries in a round."""
CALM_S = 0.1
"""Before each round: threads of a runtime look out for more work for a while, on the cores that the other wants."""
LEAST_S = 2.0
"""A small model does more rounds than were asked for."""


# ---- in a process of its own


def frames_of(folder: Path, encoder: Any) -> list[Any]:
    """The pictures in ``folder`` as the daemon's own children prepare them, a frame each."""
    from memewatchd.pictures.pool import DecodePool

    frames = []
    with DecodePool(2) as pool:
        for file in sorted(folder.iterdir()):
            with file.open("rb") as stream:
                frames.append(pool.submit(stream.fileno(), encoder.spec, 1).result().frames[0])
    return frames


def vectors(encoder: Any, frames: Any, texts: list[str]) -> dict[str, Any]:
    """Of all pictures, in the daemon's batches, and of all texts, one at a time."""
    from memewatchd.encoders.host import BATCH

    parts = [encoder.encode_images(frames[start : start + BATCH]) for start in range(0, len(frames), BATCH)]
    return {"pictures": np.concatenate(parts), "words": np.stack([encoder.encode_text(text) for text in texts])}


def reference(encoder: Any, pictures: Path, texts: list[str], file: Path) -> dict[str, Any]:
    """float32's vectors, for the variants' processes; how alike they are among themselves."""
    frames = frames_of(pictures, encoder)
    found = vectors(encoder, frames, texts)
    np.savez(file, frames=np.stack(frames), **found)
    apart = ~np.eye(len(frames), dtype=bool)
    return {"alike": float((found["pictures"] @ found["pictures"].T)[apart].mean())}


def parts_of(model: Any) -> dict[str, tuple[Any, tuple[Tensor, ...]]]:
    """What is exported, and an example of what goes in. The bundled model asks one of its networks only of some
    pictures, which no graph can say: it goes in parts."""
    import torch

    edge = getattr(model.config, "image_size", None) or model.config.vision_config.image_size
    values = torch.randn(2, 3, edge, edge)
    ids = torch.arange(1, 13).reshape(2, 6)
    if hasattr(model, "lower"):
        with torch.inference_mode():
            shared = model.lower(values)
        return {
            "lower": (model.lower, (values,)),
            "drawings": (model.drawings, (shared.clone(),)),
            "photographs": (model.photographs, (shared.clone(),)),
            "words": (model.words, (ids, torch.ones_like(ids))),
        }

    class Tower(torch.nn.Module):
        def __init__(self, asked: Callable[[Tensor], Any]) -> None:
            super().__init__()
            self.model = model
            self.asked = asked

        def forward(self, values: Tensor) -> Any:
            return self.asked(values).pooler_output

    pictures = Tower(lambda values: model.get_image_features(pixel_values=values))
    return {
        "pictures": (pictures, (values,)),
        "words": (Tower(lambda values: model.get_text_features(input_ids=values)), (ids,)),
    }


def export(module: Any, inputs: tuple[Tensor, ...], file: Path, *, any_length: bool = True) -> None:
    """An ONNX graph of any number of pictures, or of texts; ``any_length``: of these."""
    import torch

    names = [f"input{number or ''}" for number in range(len(inputs))]
    axes = {
        name: {0: "batch", 1: "length"} if any_length and not values.is_floating_point() else {0: "batch"}
        for name, values in zip(names, inputs, strict=True)
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what was traced is compared with the model itself
        torch.onnx.export(
            module.eval(),
            inputs,
            str(file),
            input_names=names,
            output_names=["output"],
            dynamic_axes={**axes, "output": {0: "batch"}},
            opset_version=18,
            dynamo=False,
        )


def runner(variant: str, file: Path, threads: int, *, convolutions: bool) -> Callable[[list[Any]], Any]:
    """A graph in ONNX Runtime or OpenVINO: arrays in, an array out."""
    if variant.startswith("ov"):
        import openvino

        settings = {
            "INFERENCE_PRECISION_HINT": "bf16" if variant == "ov-bf16" else "f32",
            "INFERENCE_NUM_THREADS": threads,
            "PERFORMANCE_HINT": "LATENCY",
        }
        compiled = openvino.Core().compile_model(str(file), "CPU", settings)
        return lambda arrays: np.array(compiled(arrays)[0], dtype=np.float32)
    import onnxruntime

    if variant == "ort-int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        smaller = file.with_suffix(".int8.onnx")
        kinds = ["MatMul", "Conv"] if convolutions else ["MatMul"]
        quantize_dynamic(file, smaller, op_types_to_quantize=kinds, per_channel=True, weight_type=QuantType.QInt8)
        file = smaller
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if convolutions:  # the bundled model goes in parts, each with its own threads: those of one would hinder the next
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_inputs()]
    return lambda arrays: session.run(None, dict(zip(names, arrays, strict=True)))[0]


def ported(model: Any, variant: str, base: Path) -> None:
    """Put graphs in the place of what they were made from."""
    import torch

    class Ported(torch.nn.Module):
        def __init__(self, ask: Callable[[list[Any]], Any]) -> None:
            super().__init__()
            self.ask = ask

        def forward(self, *inputs: Tensor) -> Tensor:
            return torch.from_numpy(self.ask([values.numpy() for values in inputs]))

    made = {}
    for name, (module, inputs) in parts_of(model).items():
        file = base / f"{name}.onnx"
        if not file.exists():
            export(module, inputs, file)
        ask = runner(variant, file, torch.get_num_threads(), convolutions=hasattr(model, "lower"))
        made[name] = Ported(ask)
    if hasattr(model, "lower"):
        for name, module in made.items():
            setattr(model, name, module)
        return
    model.get_image_features = lambda pixel_values, **_: made["pictures"](pixel_values)
    model.get_text_features = lambda input_ids, **_: made["words"](input_ids)


@contextlib.contextmanager
def rough_products() -> Any:
    """float32 outside, bfloat16 inside of matrix products and convolutions."""
    from torch.backends import mkldnn

    settings = [mkldnn.matmul, mkldnn.conv]  # type: ignore[attr-defined]
    before = [each.fp32_precision for each in settings]
    for each in settings:
        each.fp32_precision = "bf16"
    try:
        yield
    finally:
        for each, value in zip(settings, before, strict=True):
            each.fp32_precision = value


def changed(encoder: Any, variant: str, base: Path) -> Callable[[], Any]:
    """Make the encoder the variant; what must be around each call of it."""
    import torch

    model = encoder._model  # noqa: SLF001 - only here is it anything else than what was loaded
    if variant == "products":
        return rough_products
    if variant == "autocast":
        return lambda: torch.autocast("cpu", torch.bfloat16)
    if variant == "last":
        channels = model.to(memory_format=torch.channels_last).get_image_features
        model.get_image_features = lambda pixel_values: channels(
            pixel_values=pixel_values.contiguous(memory_format=torch.channels_last)
        )
    elif variant == "bf16":
        picture = model.to(torch.bfloat16).get_image_features
        model.get_image_features = lambda pixel_values: picture(pixel_values=pixel_values.to(torch.bfloat16))
    elif variant == "int8":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.ao.quantization.quantize_dynamic(  # type: ignore[no-untyped-call]
                model, {torch.nn.Linear}, torch.qint8, inplace=True
            )
    else:
        ported(model, variant, base)
    return contextlib.nullcontext


def measure(
    folder: Path, variant: str, file: Path, texts: list[str], rounds: int, base: Path, *, busy: bool
) -> dict[str, Any]:
    """A variant over float32: seconds of a round of each, cosines, and the same best."""

    from memewatchd.encoders.bundled.encoder import BundledEncoder
    from memewatchd.encoders.clip import ClipEncoder
    from memewatchd.encoders.host import BATCH

    threads = 1 if busy else None
    clock = time.process_time if busy else time.perf_counter
    plain, other = (ClipEncoder.load(folder, "floor", device="cpu", threads=threads) for _ in range(2))
    if hasattr(plain._model, "lower"):  # noqa: SLF001 - as the class of its own in memewatchd/encoders/bundled has it
        plain.TEXT_THREADS = other.TEXT_THREADS = BundledEncoder.TEXT_THREADS
    with np.load(file) as kept:
        frames = kept["frames"]
        wanted = {name: kept[name] for name in TOWERS}
    around = changed(other, variant, base)
    values = plain._pixels.values(list(frames[:BATCH]))  # noqa: SLF001 - ready tensors

    def pictures(encoder: Any) -> None:
        with encoder._threads_for_call(encoder._threads, keep=True):  # noqa: SLF001 - for words it may have been fewer
            encoder._model.get_image_features(pixel_values=values)  # noqa: SLF001 - bare is without what is ours

    def words(encoder: Any) -> None:
        for text in texts[:ASKED]:
            encoder.encode_text(text)

    with around():
        found = vectors(other, frames, texts)
    result: dict[str, Any] = {}
    for name, work, count in (("pictures", pictures, BATCH), ("words", words, ASKED)):
        ours: list[float] = []
        theirs: list[float] = []
        while len(ours) <= rounds or sum(ours + theirs) < LEAST_S:
            theirs.append(once(work, plain, clock))
            with around():
                ours.append(once(work, other, clock))
        cosines = (found[name] * wanted[name]).sum(1)
        result[name] = {
            "ours": count / min(ours[1:]),
            "reference": count / min(theirs[1:]),
            "least": float(cosines.min()),
            "mean": float(cosines.mean()),
            "same": same_best({**wanted, name: found[name]}, wanted),
        }
    return result


def once(work: Callable[[Any], None], encoder: Any, clock: Callable[[], float]) -> float:
    """Seconds of a round, after a calm moment."""
    time.sleep(CALM_S)
    began = clock()
    work(encoder)
    return clock() - began


def same_best(ours: dict[str, Any], wanted: dict[str, Any]) -> float:
    """The share of the best that are the same, over all queries."""
    both = [np.argsort(-(each["words"] @ each["pictures"].T), axis=1)[:, :BEST] for each in (ours, wanted)]
    return float(np.mean([len(set(mine) & set(theirs)) / BEST for mine, theirs in zip(*both, strict=True)]))


# ---- the program


def environment() -> str:
    """The Python that has ONNX, ONNX Runtime and OpenVINO besides what this one has; made with pip where missing."""
    folder = material.REPO / ".run" / "floor"
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        wanted = ["onnx>=1.20,<2", "onnxruntime>=1.25,<2", "openvino>=2026,<2027", f"numpy=={np.__version__}"]
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *wanted], check=True)
        asked = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        packages = subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
        (Path(packages) / "shared.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (folder / "complete").touch()
    return str(python)


def multiplies_bfloat16() -> bool:
    """Whether the processor does that in hardware."""
    flags = Path("/proc/cpuinfo").read_text().split()
    return "avx512_bf16" in flags or "amx_bf16" in flags


def run(python: str, *given: object) -> dict[str, Any]:
    """A worker's figures."""
    done = subprocess.run([python, __file__, "--worker", *map(str, given)], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def worker(given: list[str], count: int, rounds: int, *, busy: bool) -> None:
    """Print the figures as JSON."""
    from memewatchd.encoders import bundled, resting
    from memewatchd.encoders.clip import ClipEncoder

    resting.set_up_heaps()
    folder, variant, pictures, file, base = (Path(each) for each in given)
    bundled.register()
    texts = material.queries(count)
    if str(variant) == "reference":
        found = reference(ClipEncoder.load(folder, "floor", device="cpu"), pictures, texts, file)
    else:
        base.mkdir(exist_ok=True)
        found = measure(folder, str(variant), file, texts, rounds, base, busy=busy)
    print(json.dumps(found))


def kept(values: dict[str, float]) -> bool:
    """The rule."""
    fast = values["ours"] >= FASTER * values["reference"]
    return fast and values["least"] >= ALIKE and values["same"] == 1.0


def table(found: dict[str, dict[str, Any]]) -> str:
    """What the rule is put to."""
    lines = [
        "| tower | variant | times as fast | cosine, least | mean | same best 10 | by the rule |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for tower in TOWERS:
        for variant, each in found.items():
            values = each[tower]
            lines.append(
                f"| {tower} | {VARIANTS[variant]} | {values['ours'] / values['reference']:.2f} "
                f"| {values['least']:.5f} | {values['mean']:.5f} | {values['same']:.1%} "
                f"| {'**kept**' if kept(values) else 'not kept'} |"
            )
    return "\n".join(lines)


def folder_of(name: str, base: Path) -> Path:
    """A model by its name, or the folder that it is."""
    if name in PATCHES:
        return material.clip(base / name, PATCHES[name])
    return material.bundled() if name == "bundled" else Path(name).resolve()


def main() -> None:
    """Each model, each variant; then what the rule says."""
    parser = arguments(__doc__)
    parser.add_argument("--models", nargs="+", metavar="MODEL", default=list(MODELS), help="of those, or a folder")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--pictures", type=int, default=64)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--busy", action="store_true", help="one thread, and its processor time")
    parser.add_argument("--worker", nargs=5, metavar=("MODEL", "VARIANT", "PICTURES", "VECTORS", "GRAPHS"))
    options = parser.parse_args()
    if options.worker:
        worker(options.worker, options.queries, options.rounds, busy=options.busy)
        return
    report = Report()
    python, variants = sys.executable, list(options.variants)
    if not multiplies_bfloat16():
        report.note("This processor doesn't multiply bfloat16 in hardware: left out.")
        variants = [name for name in variants if name not in BFLOAT16]
    if any(name in ELSEWHERE for name in variants):
        try:
            python = environment()
        except subprocess.CalledProcessError as error:
            report.note(f"ONNX Runtime and OpenVINO could not be installed: {error}")
            variants = [name for name in variants if name not in ELSEWHERE]
    sizes = ["--queries", options.queries, "--rounds", options.rounds]
    if options.busy:
        report.note("Paces are of one thread, by its processor time: the machine did other things meanwhile.")
        sizes.append("--busy")
    with tempfile.TemporaryDirectory(prefix="meme-") as temporary:
        base = Path(temporary)
        material.pictures(base / "pictures", options.pictures)
        for name in options.models:
            called = MODELS.get(name, f"the model {Path(name).name}")
            folder = folder_of(name, base)
            given = (base / "pictures", base / "reference.npz", base / f"graphs-{len(report.notes)}", *sizes)
            alike = run(python, folder, "reference", *given)["alike"]
            found = {}
            for variant in variants:
                found[variant] = run(python, folder, variant, *given)
                for tower in TOWERS:
                    values = found[variant][tower]
                    what = f"{called}, {tower}: {VARIANTS[variant]}"
                    report.add(Row(what, values["ours"], values["reference"], "/s"))
            weights = "random weights, whose cosines and best 10 say little" if name in PATCHES else "real weights"
            report.note(
                f"{called[0].upper()}{called[1:]} ({weights}): {options.pictures} pictures, whose vectors "
                f"are {alike:.2f} alike on average, and {options.queries} queries.\n\n{table(found)}"
            )
    report.save(options.json)


if __name__ == "__main__":
    main()
