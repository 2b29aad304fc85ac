"""Weights to and from PyTorch.

python -m mv2mae_jax.convert export --checkpoint runs/pretrain --format huggingface --out encoder
python -m mv2mae_jax.convert import --from encoder --out runs/imported

docs/pytorch.md says what travels, and how exactly it agrees.
"""

import sys

from mv2mae_jax.command_line import Parser
from mv2mae_jax.errors import InputError, failed
from mv2mae_jax.interop.export import FORMATS, export
from mv2mae_jax.interop.files import READERS
from mv2mae_jax.interop.importing import import_weights


def main() -> int:
    """Converts; returns the exit code."""
    args = _parser().parse_args()
    try:
        if args.direction == "export":
            export(args.checkpoint, args.format, args.out, encoder_only=args.encoder_only)
        else:
            import_weights(args.source, args.out)
    except (InputError, OSError) as error:
        return failed(error)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="python -m mv2mae_jax.convert", description=__doc__)
    directions = parser.add_subparsers(dest="direction", required=True)
    out = directions.add_parser("export", help="a run's weights for PyTorch", description=__doc__)
    out.add_argument("--checkpoint", required=True, help="work directory of a run")
    out.add_argument("--format", required=True, choices=tuple(FORMATS))
    out.add_argument("--encoder-only", action="store_true", help="without decoders or classifier")
    out.add_argument("--out", required=True, help="folder to make")
    into = directions.add_parser(
        "import", help="weights from elsewhere as a work directory", description=__doc__
    )
    into.add_argument(
        "--from",
        dest="source",
        required=True,
        help=f"a file ({', '.join(READERS)}), a folder of Hugging Face's, or an export",
    )
    into.add_argument("--out", required=True, help="work directory to make")
    return parser


if __name__ == "__main__":
    sys.exit(main())
