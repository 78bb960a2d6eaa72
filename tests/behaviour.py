"""What the command line does on the bundled models, as one record: the safety net of a refactoring.

    python tests/behaviour.py record before.json      # run all commands and write what they did
    python tests/behaviour.py compare before.json     # run them again and print what differs

Recorded for each command: exit status, standard output and error without times and temporary paths, and every file
written with its SHA-256. Records of two machines differ in the last bits of images, so compare on one.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

PORTRAIT = Path(__file__).parents[1] / "restyle_cli" / "examples" / "portrait.png"
COMMANDS = [
    "--version",
    "--help",
    "invert --help",
    "samples -n 3 --seed 5 -o people",
    "invert portrait.png -n 5 --json -o plain",
    "invert portrait.png -n 5 -o plain",
    "invert people -n 3 --save image,strip,steps,latent,npy -o all -b 2",
    "invert portrait.png -m psp-portrait --json -o psp",
    "invert portrait.png --via restyle-psp:2,image2stylegan:4 --json -o hybrid",
    "invert portrait.png --via e4e-w,hyperstyle:2 --json -o hyper",
    "invert portrait.png --via restyle-psp:1,pti:3 --json -o pti",
    "invert portrait.png --via restyle-e4e:2,toon --json -o other",
    "invert portrait.png --precision bf16 -n 2 --json -o half",
    "bootstrap portrait.png --to toonify --json -o boot",
    "heatmap people -n 3 --json -o heat",
    "eval people --methods psp,restyle-psp:2 --json -o score",
    "eval people --methods psp,restyle-psp:2 -o score",
    "align people --json -o crops",
    "weights list --json",
    "weights list",
    "weights info portrait",
    "methods",
    "methods pti",
    "convert portrait converted.pt --to rosinality",
    "invert portrait.png -m converted.pt -n 3 --json -o projected",
    "invert missing.png",
    "invert people portrait.png missing.png -n 1 -o mixed",
    "invert portrait.png -m restyle-psp-portrayt",
    "invert portrait.png -n 0",
    "invert portrait.png --via psp,toon,portrait -n 5",
    "eval people --metrics l3",
    "train nothing",
]
TIMES = re.compile(
    r"(\d+(\.\d+)?(e-\d+)? ?(s|ms|min|seconds|MB/s|it/s)\b)"
    r"|(\"(seconds|milliseconds|time|started|finished|peak_memory)[a-z_]*\": [^,}\n]+)"
    r"|((—|±)\D+\d+\.\d{4}( +\d+\.\d)?$)",  # the last columns of the tables of eval
    flags=re.MULTILINE,
)


def digest(path: Path) -> str:
    """SHA-256 of what a file holds: without a latent's description, a report's times, a checkpoint's dates."""
    content = path.read_bytes()
    if path.suffix == ".safetensors":  # the header describes the run, with times and paths
        content = content[8 + int.from_bytes(content[:8], "little") :]
    elif path.suffix == ".npz":
        with np.load(path) as arrays:
            content = b"".join(name.encode() + arrays[name].tobytes() for name in arrays.files)
    elif path.suffix in (".pt", ".html", ".csv", ".json", ".jsonl"):
        return "written"
    return hashlib.sha256(content).hexdigest()[:16]


def mask(text: str, folder: Path) -> list[str]:
    """Lines without times and the temporary folder."""
    return TIMES.sub("<time>", text.replace(str(folder.resolve()), "<tmp>").replace(str(folder), "<tmp>")).splitlines()


def record(folder: Path) -> dict[str, dict]:
    """Run every command in `folder`, in order."""
    (folder / "portrait.png").write_bytes(PORTRAIT.read_bytes())
    environment = os.environ | {
        "RESTYLE_HOME": str(folder / "home"),
        "COLUMNS": "80",
        "RESTYLE_OFFLINE": "1",
        "NO_COLOR": "1",
    }
    before: dict[str, str] = {}
    found = {}
    for command in COMMANDS:
        line = [sys.executable, "-m", "restyle_cli", *command.split()]
        done = subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        files = (path for path in sorted(folder.rglob("*")) if path.is_file() and "home" not in path.parts)
        after = {str(path.relative_to(folder)): digest(path) for path in files}
        found[command] = {
            "status": done.returncode,
            "out": mask(done.stdout, folder),
            "err": mask(done.stderr, folder),
            "files": {name: digest for name, digest in after.items() if before.get(name) != digest},
        }
        before = after
        print(done.returncode, command, file=sys.stderr)
    return found


def main() -> int:
    """The command line; 1 when something differs."""
    action, path = sys.argv[1], Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as folder:
        now = json.dumps(record(Path(folder)), indent=1, sort_keys=True).splitlines()
    if action == "record":
        path.write_text("\n".join(now) + "\n", encoding="utf-8")
        return 0
    lines = list(
        difflib.unified_diff(path.read_text(encoding="utf-8").splitlines(), now, "before", "now", lineterm="", n=2)
    )
    print("\n".join(lines) or "no difference")
    return int(bool(lines))


if __name__ == "__main__":
    sys.exit(main())
