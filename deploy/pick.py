"""``pick.py LOCK NAME...``: print what the lock says of these packages, hashes included."""

import re
import sys
from pathlib import Path

lock, *names = sys.argv[1:]
blocks = re.findall(
    r"^([\w.-]+)(==[^\n]*\n(?:    [^\n]*\n)*)", Path(lock).read_text(), re.MULTILINE
)
found = {name: name + rest for name, rest in blocks}
missing = sorted(set(names) - set(found))
if missing:
    sys.exit(f"{lock} does not have {', '.join(missing)}")
sys.stdout.write("".join(found[name] for name in names))
