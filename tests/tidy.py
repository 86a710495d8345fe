#!/usr/bin/env python3
"""Runs clang-tidy over the rooms that wait for nothing, with the compile commands of a build that may be gcc's.

    tests/tidy.py BUILD [ROOM...]

The rooms above (io, checks, drivers, notify, engine, api, cli) are coroutines over Asio: clang-tidy 14 needs minutes and up to 2 GB
for one such file, and its analyzer reports paths that end in the library. The compiler's warnings and the sanitizers look at those.
"""
import concurrent.futures
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys

ROOMS = "base model series config promql rules ledger decision rollback record metrics".split()
GCC_ONLY = re.compile(r"-Wno-(maybe-uninitialized|restrict|dangling-pointer|stringop-overflow)|-Winvalid-pch|-fsanitize.*|-fno-sanitize.*")
SECONDS_MAX = 300  # one file
ROOT = pathlib.Path(__file__).resolve().parent.parent


def as_clang_takes_it(arguments, folder):
    """The precompiled header becomes an ordinary one (clang cannot read gcc's), and what only gcc knows is left out."""
    kept = []
    for argument in arguments:
        if GCC_ONLY.fullmatch(argument):
            continue
        if argument.endswith("/cmake_pch.hxx"):
            copy = folder / "pch.hxx"
            shutil.copyfile(argument, copy)
            argument = str(copy)
        kept.append(argument)
    return kept


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if not shutil.which("clang-tidy"):
        print("tidy: clang-tidy is missing, nothing was looked at; deploy/install-deps.sh installs it")
        return 0
    build, rooms = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:] or ROOMS
    folder = build / "tidy"
    folder.mkdir(exist_ok=True)
    commands = []
    for entry in json.loads((build / "compile_commands.json").read_text()):
        file = pathlib.Path(entry["file"])
        if file.parent.parent == ROOT / "src" and file.parent.name in rooms:
            arguments = as_clang_takes_it(shlex.split(re.sub(r"-Xclang -include-pch -Xclang \S+ ", "", entry["command"])), folder)
            commands.append({"directory": entry["directory"], "file": entry["file"], "arguments": arguments})
    (folder / "compile_commands.json").write_text(json.dumps(commands))

    def look_at(file):
        try:
            run = subprocess.run(["clang-tidy", "-p", str(folder), "--quiet", file], cwd=ROOT, text=True, timeout=SECONDS_MAX,
                                 stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        except subprocess.TimeoutExpired:
            return 1, f"{file}: clang-tidy took longer than {SECONDS_MAX} s\n"
        text = re.sub(r"^\d+ warnings?.* generated.*\n|^\d+ warnings? treated as errors?\n", "", run.stdout, flags=re.M)
        return run.returncode, text

    bad = 0
    files = sorted({command["file"] for command in commands})
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for code, text in pool.map(look_at, files):
            bad += code != 0
            if code != 0:
                print(text.strip(), flush=True)
    print(f"tidy: {len(files)} files, {bad} with findings")
    return 1 if bad or not files else 0


sys.exit(main())
