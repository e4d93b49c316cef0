"""What a server holds on to, sample by sample, and whether it holds on to more and more."""

import contextlib
import dataclasses
import os
import pathlib
import re
import statistics
import time
import urllib.request

from processes import Server

MIB = 1024 * 1024
# Below that, caches still fill, and a quarter of the time says little.
JUDGED_FROM_SECONDS = 600


@dataclasses.dataclass
class Sample:
    """At one moment."""

    seconds: float
    resident_mib: float
    file_descriptors: int
    sockets: int
    threads: int
    tasks: int
    disk_mib: float
    completed: int


@dataclasses.dataclass
class Allowed:
    """How much more of something the last quarter of the time may have than the second."""

    factor: float
    more: float


# Resident memory: the journal's index and the tables' filters grow by some bytes for each record. Descriptors: of tables,
# which come and go. Tasks: those of callers, who come and go too.
ALLOWED = {
    "resident_mib": Allowed(1.10, 16),
    "file_descriptors": Allowed(1.0, 64),
    "threads": Allowed(1.0, 2),
    "tasks": Allowed(1.0, 64),
}
# On the disk, for each further record: twice the mean payload of 512 bytes, the record's rest, and what is not merged yet.
DISK_BYTES_PER_RECORD = 2048


def metric(text: str, name: str) -> int:
    found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def metrics(server: Server) -> str:
    with urllib.request.urlopen(f"http://{server.operations}/metrics", timeout=60) as answer:
        return answer.read().decode()


def disk_bytes(directory: pathlib.Path) -> int:
    total = 0
    for file in directory.rglob("*"):
        try:
            total += file.stat().st_blocks * 512
        except FileNotFoundError:
            continue  # a table that was merged away meanwhile
    return total


def descriptors(process: int) -> list[str]:
    """What each open file descriptor leads to."""
    found = []
    for descriptor in pathlib.Path(f"/proc/{process}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.append(os.readlink(descriptor))
    return found


def sample(server: Server, process: int, started: float) -> Sample:
    status = pathlib.Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    text = metrics(server)
    open_files = descriptors(process)
    field = {name: int(value) for name, value in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE)}
    return Sample(
        seconds=time.monotonic() - started,
        resident_mib=field["VmRSS"] / 1024,
        file_descriptors=len(open_files),
        sockets=sum(name.startswith("socket:") for name in open_files),
        threads=field["Threads"],
        tasks=metric(text, "semel_tasks"),
        disk_mib=disk_bytes(server.directory / "data") / MIB,
        completed=metric(text, "semel_attempts_count"),
    )


def quarters(samples: list[Sample]) -> list[Sample]:
    """The medians of each quarter of the time."""
    length = samples[-1].seconds / 4
    parts = [[one for one in samples if number * length <= one.seconds <= (number + 1) * length] for number in range(4)]
    return [Sample(*(statistics.median(column) for column in zip(*map(dataclasses.astuple, part)))) for part in parts]


def table(parts: list[Sample]) -> str:
    names = [field.name for field in dataclasses.fields(Sample)]
    rows = [["medians of each quarter", *names]]
    rows += [[str(number), *(f"{value:.0f}" for value in dataclasses.astuple(part))]
             for number, part in enumerate(parts, 1)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)


def growth(parts: list[Sample]) -> list[str]:
    """What grew beyond what is allowed, from the second quarter to the last."""
    before, after = parts[1], parts[3]
    found = []
    for name, allowed in ALLOWED.items():
        was, now = getattr(before, name), getattr(after, name)
        most = was * allowed.factor + allowed.more
        if now > most:
            found.append(f"{name}: {was:.0f} in the second quarter, {now:.0f} in the last; at most {most:.0f} is allowed")
    records = after.completed - before.completed
    each = (after.disk_mib - before.disk_mib) * MIB / max(records, 1)
    if each > DISK_BYTES_PER_RECORD:
        found.append(f"disk: {each:.0f} bytes for each of {records:.0f} further records; "
                     f"at most {DISK_BYTES_PER_RECORD} are allowed")
    return found
