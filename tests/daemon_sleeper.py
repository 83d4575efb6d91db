"""A daemon that has one child and waits: what tests/test_server.py starts and stops."""

import subprocess
import sys
import time
from pathlib import Path

from flows.daemon import Daemon

if __name__ == "__main__":
    Daemon(Path.cwd(), "sleeper").claim(colour="green")
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path("has-child").touch()
    time.sleep(60)
