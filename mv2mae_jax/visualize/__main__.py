"""Pictures of a run, and a page to explore it.

python -m mv2mae_jax.visualize PICTURE --workdir=runs/pretrain --out FILE

Each picture is a module of this folder: what it shows, an example, its options, and `draw`.
"""

import sys
from collections.abc import Sequence

from mv2mae_jax.command_line import Parser
from mv2mae_jax.errors import InputError, failed
from mv2mae_jax.visualize import (
    ablation,
    attention,
    confusion,
    curves,
    embedding,
    motion,
    reconstruction,
    report,
)

PICTURES = {
    "motion": motion,
    "reconstruction": reconstruction,
    "attention": attention,
    "curves": curves,
    "confusion": confusion,
    "ablation": ablation,
    "embedding": embedding,
    "report": report,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Draws one picture; returns the exit code."""
    parser = Parser(prog="python -m mv2mae_jax.visualize", description=__doc__)
    pictures = parser.add_subparsers(dest="picture", metavar="PICTURE", required=True)
    for name, module in PICTURES.items():
        about = str(module.__doc__)
        module.add_options(pictures.add_parser(name, help=about.splitlines()[0], description=about))
    args = parser.parse_args(argv)
    try:
        PICTURES[args.picture].draw(args)
    except (InputError, OSError) as error:
        return failed(error)
    print(f"{args.picture} drawn to {args.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
