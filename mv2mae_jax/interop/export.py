"""A run's weights for PyTorch: `python -m mv2mae_jax.convert export`.

Every format holds all parameters. Where the program that it is for has no place for some, which is
the cross-view decoder, they stand beside its own; what it would compute otherwise is refused.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from configs.base import get_config
from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.card import measured, model_card
from mv2mae_jax.interop.files import (
    CHECKPOINT_FILE,
    CROSS_VIEW_FILE,
    CROSS_VIEW_KEY,
    ORIGIN_KEY,
    WEIGHTS_FILE,
    Origin,
    require,
)
from mv2mae_jax.interop.names import Tensors, to_tensors
from mv2mae_jax.interop.writing import new_folder, write_safetensors, write_torch
from mv2mae_jax.model.parts import ENCODER, PARTS, Part, has, num_classes, only
from mv2mae_jax.model.variants import VARIANTS
from mv2mae_jax.run_files import CLASSES, PROBE, RESULTS, read_classes, read_probe, read_results
from mv2mae_jax.storage import to_path
from mv2mae_jax.training.checkpoints import load_parameters

ONNX_FILE = "encoder.onnx"


class Export(NamedTuple):
    """What is exported.

    Attributes:
      parameters: by our names, float32.
      origin: the run's config, and the names of a classifier's classes.
    """

    parameters: Tensors
    origin: Origin

    @property
    def patch_size(self) -> tuple[int, int, int]:
        """Frames, height and width of a tubelet."""
        return tuple(self.origin.config.model.patch_size)

    @property
    def num_classes(self) -> int:
        """Classes of the classifier; 0 if there is none."""
        return num_classes(self.parameters)

    @property
    def metadata(self) -> dict[str, str]:
        """Of a safetensors file."""
        return {ORIGIN_KEY: self.origin.to_json()}


def export(
    checkpoint: epath.PathLike, form: str, out: epath.PathLike, *, encoder_only: bool = False
) -> None:
    """Writes the newest parameters of a run into a new folder, with a model card.

    Args:
      checkpoint: the work directory of a pre-training or fine-tuning run.
      form: one of `FORMATS`.
      out: the folder.
      encoder_only: leaves decoders or classifier.

    Raises:
      InputError: there is no run, the folder is there already, what writes it is not installed, or
        the format would give other numbers.
    """
    chosen = FORMATS[form]
    for package in chosen.packages:
        require(package, f"--format={form}", chosen.extras)
    parameters, config = load_parameters(checkpoint)
    _refuse(config, form, checkpoint)
    parts = ENCODER if encoder_only else chosen.holds
    kept = {name: np.asarray(x) for name, x in only(parameters, parts).items()}
    left = [name for name in parameters if name not in kept]
    exported = Export(kept, Origin(_without_folders(config), read_classes(checkpoint)))
    names = exported.origin.classes
    if names and exported.num_classes not in (0, len(names)):
        raise InputError(
            f"{checkpoint} has {len(names)} names in classes.json for {exported.num_classes} "
            "classes; the run's command writes it anew"
        )
    with new_folder(out) as folder:
        chosen.write(exported, folder)
        tested = not has(left, "classifier")  # what is in the folder
        results = _results(checkpoint) if tested else {}
        text = (chosen.library, chosen.loading)
        card = model_card(exported.origin, *text, exported.num_classes, results)
        (folder / "README.md").write_text(card, encoding="utf-8")
        files = sorted(path.name for path in folder.iterdir())
    total = sum(x.size for x in kept.values())
    print(f"{len(kept)} parameters, {total / 1e6:.2f} M values, to {out}: {', '.join(files)}")
    if left:
        why = "--encoder-only" if encoder_only else f"--format={form}"
        print(f"left by {why}: {len(left)} parameters from {left[0]} to {left[-1]}")
    if exported.num_classes and not names:
        print(f"the classes have no names: {checkpoint} has no {CLASSES}")


def _refuse(config: ConfigDict, form: str, checkpoint: epath.PathLike) -> None:
    """What the format's classes would compute otherwise."""
    chosen = FORMATS[form]
    if chosen.computes_positions and config.model.positions != "flattened":
        raise InputError(
            f"{checkpoint} was trained with model.positions={config.model.positions}, but the "
            f"classes of {form} compute flattened positions themselves and would give other "
            "numbers; use --format=pytorch, or train with --config.model.positions=flattened"
        )
    ours, known = ([*x.data.mean, *x.data.std] for x in (config, get_config()))
    if not chosen.has_statistics and ours != known:
        raise InputError(
            f"{checkpoint} was trained with another data.mean or data.std than ImageNet's, which "
            f"the programs of {form} have; use --format=huggingface or pytorch"
        )
    _, height, width = config.model.patch_size
    if chosen.square_tubelets and height != width:
        raise InputError(
            f"{checkpoint} was trained with tubelets of {height} x {width} pixels, but the classes "
            f"of {form} know square ones only; use --format=pytorch"
        )


def _without_folders(config: ConfigDict) -> ConfigDict:
    """The config without the places of its machine, which are nobody's business elsewhere."""
    config = config.copy_and_resolve_references()
    config.data.data_dir = get_config().data.data_dir
    for task in (config.pretrain, config.finetune):
        task.init_from = Path(task.init_from).name
    return config


def _write_huggingface(exported: Export, folder: Path) -> None:
    from transformers import VideoMAEConfig

    config = exported.origin.config
    tensors = to_tensors(exported.parameters, "huggingface", exported.patch_size)
    cross_view = _only_cross_view(tensors)
    own = {name: value for name, value in tensors.items() if name not in cross_view}
    write_safetensors(folder / WEIGHTS_FILE, own, exported.metadata)
    if cross_view:
        write_safetensors(folder / CROSS_VIEW_FILE, cross_view, {})
    VideoMAEConfig(**_huggingface_fields(exported)).save_pretrained(folder)
    processor = _image_processor(config)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor, indent=2) + "\n")


def _write_videomae(exported: Export, folder: Path) -> None:
    tensors = _mcg_nju_tensors(exported)
    cross_view = _only_cross_view(tensors)
    model = {name: value for name, value in tensors.items() if name not in cross_view}
    content: dict[str, Any] = {"model": model, **exported.metadata}
    write_torch(
        folder / CHECKPOINT_FILE, content | ({CROSS_VIEW_KEY: cross_view} if cross_view else {})
    )


def _write_pytorch(exported: Export, folder: Path) -> None:
    write_safetensors(folder / WEIGHTS_FILE, _mcg_nju_tensors(exported), exported.metadata)


def _write_onnx(exported: Export, folder: Path) -> None:
    from mv2mae_jax.interop import onnx, pytorch

    config = exported.origin.config
    module = pytorch.build(config, _mcg_nju_tensors(exported))
    onnx.write_onnx(module, config, folder / ONNX_FILE)


class Format(NamedTuple):
    """All that tells a format from the others.

    Attributes:
      write: writes the folder.
      packages: that this needs.
      loading: for the model card, how the folder is loaded.
      library: that loads it, by the name that model hubs know.
      extras: of this package, that bring the packages.
      computes_positions: its classes compute positions themselves, flattened ones.
      square_tubelets: its classes know no others.
      has_statistics: it says what pixels are normalised by; else that is ImageNet's.
      holds: the parts that it has a place for; what holds all of them `convert import` reads too.
    """

    write: Callable[[Export, Path], None]
    packages: tuple[str, ...]
    loading: str
    library: str = "mv2mae-jax"
    extras: str = "torch"
    computes_positions: bool = False
    square_tubelets: bool = False
    has_statistics: bool = True
    holds: tuple[Part, ...] = tuple(PARTS)


FORMATS = {
    "huggingface": Format(
        _write_huggingface,
        ("torch", "transformers", "safetensors"),
        loading=f"""\
`from_pretrained` of `VideoMAEForPreTraining` loads an encoder with its self-view decoder, of
`VideoMAEModel` what was exported with `--encoder-only`, of `VideoMAEForVideoClassification` a
classifier. To fine-tune an encoder, add `use_mean_pooling=True` and `num_labels`. `pixel_values`
are float clips [B, T, C, H, W], normalised as `preprocessor_config.json` says. A cross-view
decoder, for which transformers has no class, is in `{CROSS_VIEW_FILE}`. Norms here have an eps of
1e-6; for `fc_norm` and `decoder.norm` transformers takes 1e-5, whatever its config says.""",
        library="transformers",
        computes_positions=True,
        square_tubelets=True,
    ),
    "videomae": Format(
        _write_videomae,
        ("torch",),
        loading=f"""\
VideoMAE's fine-tuning program takes it as `--finetune {CHECKPOINT_FILE}`. Its tensors stand under
`model`; a cross-view decoder, which that program does not know, under `{CROSS_VIEW_KEY}`.""",
        computes_positions=True,
        square_tubelets=True,
        has_statistics=False,
    ),
    "pytorch": Format(
        _write_pytorch,
        ("safetensors",),
        loading="`mv2mae_jax.interop.pytorch.load` makes a PyTorch module of this folder; its "
        "`normalize` makes what it takes of uint8 clips [B, T, H, W, 3], 0 to 255, RGB.",
    ),
    "onnx": Format(
        _write_onnx,
        ("torch", "onnx", "onnxscript"),
        loading="It takes uint8 clips [B, T, H, W, 3], 0 to 255, RGB, and normalises them itself.",
        extras="torch,onnx",
        holds=(*ENCODER, "classifier"),
    ),
}


def _mcg_nju_tensors(exported: Export) -> Tensors:
    """By MCG-NJU's names; those of its classifiers stand alone, without `encoder.`."""
    tensors = to_tensors(exported.parameters, "videomae", exported.patch_size)
    if not exported.num_classes:
        return tensors
    return {name.removeprefix("encoder."): value for name, value in tensors.items()}


def _only_cross_view(tensors: Tensors) -> Tensors:
    return {name: value for name, value in tensors.items() if name.startswith("cross_view_")}


def _huggingface_fields(exported: Export) -> dict[str, Any]:
    """Of a VideoMAEConfig."""
    config = exported.origin.config
    variant = VARIANTS[config.model.variant]
    pretrains = has(exported.parameters, "final norm")
    fields = {
        "architectures": [_architecture(exported)],
        "image_size": config.data.image_size,
        "num_frames": config.data.num_frames,
        "tubelet_size": exported.patch_size[0],
        "patch_size": exported.patch_size[1],
        "hidden_size": variant.width,
        "num_hidden_layers": variant.depth,
        "num_attention_heads": variant.heads,
        "intermediate_size": 4 * variant.width,
        "decoder_hidden_size": variant.decoder_width,
        "decoder_num_hidden_layers": variant.decoder_depth,
        "decoder_num_attention_heads": variant.decoder_heads,
        "decoder_intermediate_size": 4 * variant.decoder_width,
        "layer_norm_eps": 1e-6,
        "norm_pix_loss": config.objective.targets == "normalized",
        "use_mean_pooling": not pretrains,
    }
    if exported.num_classes:
        names = exported.origin.classes or [f"LABEL_{n}" for n in range(exported.num_classes)]
        fields["id2label"] = dict(enumerate(names))
        fields["label2id"] = {name: number for number, name in enumerate(names)}
    return fields


def _architecture(exported: Export) -> str:
    if exported.num_classes:
        return "VideoMAEForVideoClassification"
    decodes = has(exported.parameters, "self-view decoder")
    return "VideoMAEForPreTraining" if decodes else "VideoMAEModel"


def _image_processor(config: ConfigDict) -> dict[str, Any]:
    """What `preprocessor_config.json` says: short side, centre crop, mean and deviation."""
    size = config.data.image_size
    return {
        "image_processor_type": "VideoMAEImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": size},
        "resample": 2,  # bilinear
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(config.data.mean),
        "image_std": list(config.data.std),
    }


def _results(checkpoint: epath.PathLike) -> dict[str, str]:
    """What tests and probes found, for the card; empty without any."""
    found: dict[str, str] = {}
    if (to_path(checkpoint) / PROBE).exists():  # perhaps of another data set than the test's
        probed = measured(read_probe(checkpoint))
        found |= {f"probe: {name}": value for name, value in probed.items()}
    if (to_path(checkpoint) / RESULTS).exists():
        found |= measured(read_results(checkpoint))
    return found
