"""Changes the core, one small change at a time, and counts those that no test notices.

    make mutants                       # all of it: some hours
    make mutants MODULES="losses.py"   # some modules

By cosmic-ray, on a copy of the tracked files. A change is another operator, number, comparison or
condition; of an operator's many replacements one is tried, and annotations are left alone. What is
not noticed is printed: it needs a test, or makes no difference.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import WorkerOutcome, WorkResult

ROOT = Path(__file__).parent.parent
LAYOUTS = sorted(path.parent.name for path in ROOT.glob("tfds_builders/*/layout.py"))

# What the method and a resumed run stand on, each with the tests that are to notice.
TESTS = {
    "objective.py": ("test_objective.py",),
    "losses.py": ("test_losses.py", "test_mixing.py"),
    "model/grid.py": ("model/test_grid.py", "model/test_masking.py"),
    "model/masking.py": ("model/test_masking.py",),
    "model/positions.py": ("model/test_positions.py",),
    "training/optimizer.py": ("training/test_optimizer.py",),
    "data/protocols.py": (
        "data/test_protocols.py",
        *(f"tfds_builders/test_{name}.py" for name in LAYOUTS if name != "manifest_data"),
    ),
    "evaluation/fusion.py": ("evaluation/test_fusion.py",),
    "training/workdir.py": ("training/test_workdir.py",),
    "training/checkpoints.py": ("training/test_checkpoints.py", "training/test_train_state.py"),
    "training/loop.py": ("training/test_loop.py", "training/test_health.py"),
}
CONFIG = """
[cosmic-ray]
module-path = "mv2mae_jax/{module}"
timeout = 900.0
excluded-modules = []
test-command = "{python} -m pytest -x -q -p no:cacheprovider {tests}"

[cosmic-ray.distributor]
name = "local"

[cosmic-ray.filters.operators-filter]
exclude-operators = [
  "core/ReplaceBinaryOperator_(?!Add_Sub|Sub_Add|Mul_Div|Div_Mul|Mod_Mul|FloorDiv_Mul|Pow_Mul)",
  "core/ReplaceUnaryOperator_(USub_Not|USub_Invert|Delete_USub)",
  "core/ReplaceComparisonOperator_.*_Is(Not)?$(?<!_Is_IsNot)(?<!_IsNot_Is)",
  "core/ReplaceComparisonOperator_(Eq|NotEq)_[LG]t",
]
"""


def main(modules: list[str]) -> None:
    """Prints, module by module, what was not noticed, and how much was."""
    if unknown := sorted(set(modules) - TESTS.keys()):
        sys.exit(f"error: no tests are named for {', '.join(unknown)}; it is {', '.join(TESTS)}")
    tools = Path(sys.executable).parent
    results: list[WorkResult] = []
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        files = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
        for file in files:
            (copy / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / file, copy / file)
        for module in modules or TESTS:
            tests = " ".join(f"tests/{test}" for test in TESTS[module])
            config = CONFIG.format(module=module, tests=tests, python=sys.executable)
            (copy / "mutants.toml").write_text(config)
            session = "mutants.sqlite"
            for command in (
                ("cosmic-ray", "init", "--force", "mutants.toml", session),
                ("cr-filter-operators", session, "mutants.toml"),
                ("cosmic-ray", "baseline", "mutants.toml"),
                ("cosmic-ray", "exec", "mutants.toml", session),
            ):
                words, environment = [tools / command[0], *command[1:]], {"PYTHONPATH": folder}
                if subprocess.run(words, cwd=copy, env=os.environ | environment).returncode:
                    sys.exit(f"error: {' '.join(command)} failed; before any change {tests} pass")
            with use_db(copy / session, WorkDB.Mode.open) as database:
                run = [x for _, x in database.results if x.worker_outcome != WorkerOutcome.SKIPPED]
            for result in run:
                if not result.is_killed:
                    print(result.diff)
            results += run
            print(f"{module}: {sum(x.is_killed for x in run)} of {len(run)} noticed", flush=True)
    noticed = sum(x.is_killed for x in results)
    print(f"{noticed} of {len(results)} noticed, {noticed / len(results):.1%}")


if __name__ == "__main__":
    main(sys.argv[1:])
