"""Runs the README's worker exactly as it is pasted, against a server started as the README says."""

import pathlib
import re
import subprocess
import sys
import tempfile

from servers import DevServer


def main() -> None:
    readme = pathlib.Path("README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", readme, re.S)
    assert len(blocks) == 1, f"the README has {len(blocks)} Python blocks, expected one"
    with DevServer(sys.argv[1], port=7233), tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder, "hello.py")
        script.write_text(blocks[0])
        done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "Hello, World!", done.stdout
    print("readme: the worker of the README printed", done.stdout.strip())


main()
