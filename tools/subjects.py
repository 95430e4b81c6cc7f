"""Checks the subjects of the latest commits against CONTRIBUTING.md: python tools/subjects.py"""

import subprocess
import sys

COMMITS = 50
MAX_LENGTH = 60


def main() -> int:
    command = ["git", "log", f"--max-count={COMMITS}", "--no-merges", "--format=%h %s"]
    log = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    faults = [f"{line}: {fault}" for line in log for fault in faults_of(line.partition(" ")[2])]
    for fault in faults:
        print(fault, file=sys.stderr)
    print(f"The subjects of the last {len(log)} commits were checked")
    return 1 if faults else 0


def faults_of(subject: str) -> list[str]:
    faults = {
        f"the subject has more than {MAX_LENGTH} characters": len(subject) > MAX_LENGTH,
        "the subject begins with a small letter": subject[:1].islower(),
        "the subject ends with a full stop": subject.endswith("."),
    }
    return [fault for fault, is_so in faults.items() if is_so]


if __name__ == "__main__":
    sys.exit(main())
