r"""Fine-tune a pre-trained encoder in PyTorch, with Hugging Face's VideoMAE.

The whole road, on the embedded data set (pip install -e '.[torch]' first):

    python -m mv2mae_jax.prepare mannequin --raw-dir raw --data-dir data
    python -m mv2mae_jax.main --config=configs/mannequin.py --workdir=runs/pretrain \
        --config.data.data_dir=data --config.model.positions=flattened
    python -m mv2mae_jax.convert export --checkpoint runs/pretrain --format huggingface \
        --out encoder
    python examples/finetune_pytorch.py --encoder encoder --config configs/mannequin.py:finetune \
        --data-dir data --out classifier

Hugging Face's model knows flattened positions only, hence `--config.model.positions=flattened`;
other configs than the mannequin's pre-train with them anyway.
"""

import argparse
import json
import runpy
import sys
from pathlib import Path

import torch
from ml_collections import ConfigDict
from torch.utils.data import DataLoader
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from mv2mae_jax.command_line import Parser, number
from mv2mae_jax.errors import InputError
from mv2mae_jax.interop.torch_dataset import VideoDataset


def main() -> None:
    """Trains, tests and saves."""
    args = parse_arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.manual_seed(0)

    file, _, variant = args.config.partition(":")
    made = runpy.run_path(file)
    if "get_config" not in made:
        raise InputError(f"--config {file}: it has no get_config; name a file of configs/")
    config = made["get_config"](variant)
    config.data.data_dir = args.data_dir
    check_encoder(args.encoder, config)

    train_set, test_set = VideoDataset(config, "train"), VideoDataset(config, "test")
    options = {"batch_size": args.batch_size, "num_workers": args.workers}
    train_loader = DataLoader(train_set, shuffle=True, **options)
    test_loader = DataLoader(test_set, **options)

    names = train_set.class_names
    model = VideoMAEForVideoClassification.from_pretrained(
        args.encoder,
        num_labels=len(names),
        id2label=dict(enumerate(names)),
        label2id={name: label for label, name in enumerate(names)},
        use_mean_pooling=True,
    )
    model.to(device)  # type: ignore[arg-type]  # its decorator hides the signature
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.learning_rate, weight_decay=0.05)

    for epoch in range(args.epochs):
        model.train()
        total = 0.0
        for batch in train_loader:
            batch = {name: tensor.to(device) for name, tensor in batch.items()}
            loss = model(**batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch + 1}: loss {total / len(train_loader):.3f}")

    model.eval()
    correct = 0
    with torch.no_grad():
        for batch in test_loader:
            logits = model(batch["pixel_values"].to(device)).logits
            correct += (logits.argmax(dim=1).cpu() == batch["labels"]).sum().item()
    print(f"top-1 {correct / len(test_set):.1%} of {len(test_set)} test videos")
    model.save_pretrained(args.out)


def check_encoder(folder: Path, config: ConfigDict) -> None:
    """Clips of the config must be normalised as in pre-training, and cut into as many tokens."""
    encoder = VideoMAEConfig.from_pretrained(folder)
    sizes = (encoder.num_frames, encoder.image_size, encoder.tubelet_size, encoder.patch_size)
    tubelet, patch, _ = config.model.patch_size
    wanted = (config.data.num_frames, config.data.image_size, tubelet, patch)
    if sizes != wanted:
        raise InputError(
            "{} takes {} frames of {} pixels in tubelets of {} x {}, ".format(folder, *sizes)
            + "but the config has {} frames of {} pixels, {} x {}; ".format(*wanted)
            + "take the config that it was pre-trained with"
        )
    pixels = json.loads((folder / "preprocessor_config.json").read_text())
    for name in ("mean", "std"):
        theirs, ours = pixels[f"image_{name}"], list(config.data[name])
        if theirs != ours:
            raise InputError(
                f"{folder} was trained on pixels of {name} {theirs}, but config.data.{name} is "
                f"{ours}; take the config that it was pre-trained with"
            )


def parse_arguments() -> argparse.Namespace:
    """The command line."""
    parser = Parser(description=__doc__)
    parser.add_argument("--encoder", type=Path, required=True, help="folder made by `export`")
    parser.add_argument("--config", default="configs/mannequin.py:finetune", help="FILE[:variant]")
    parser.add_argument("--data-dir", default="data", help="where `prepare` wrote its records")
    parser.add_argument("--epochs", type=number(int, 1, 10**6), default=18)
    parser.add_argument("--batch-size", type=number(int, 1, 10**6), default=8)
    parser.add_argument("--learning-rate", type=number(float, 0, 1), default=7e-4)
    parser.add_argument(
        "--workers", type=number(int, 0, 1024), default=2, help="processes that load data"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the classifier")
    args = parser.parse_args()
    if not Path(args.config.partition(":")[0]).is_file():
        parser.error(f"--config {args.config}: no such file")
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        if not (args.encoder / name).is_file():
            parser.error(f"--encoder {args.encoder}: no {name}; export with --format huggingface")
    if args.out.exists():
        parser.error(f"--out {args.out}: is there already")
    return args


if __name__ == "__main__":
    try:
        main()
    except InputError as error:
        sys.exit(f"error: {error}")
