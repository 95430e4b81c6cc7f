"""How fast DICOM objects are stored, found and retrieved, beside Orthanc and DCMTK in the same run (`make bench`).

python bench/dimse.py DIR [--works d1,find] [--servers orthanc,fast] [--rounds 5] [--part 20]

Indexes of made-up studies stay in DIR for the next run; all else is removed. `--part` makes all works so many times
smaller. Only a whole run writes to the results.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import results
from archives import (
    DESTINATION,
    PATIENCE,
    Dcmqrscp,
    Load,
    Orthanc,
    Portico,
    Server,
    Storescp,
    Tls,
    Void,
    accepts,
    furnish,
)
from objects import Source, Stored, Work, in_files, make
from pydicom import Dataset
from scu import CALLED, CALLING, STUDY_ROOT_FIND, Answers, Association, associate_together
from tally import FIGURES, MILLISECOND, Attempt, Tally

sys.path.append(str(Path(__file__).parents[1]))

from tests.fixtures.free_ports import free_port

D1 = Work(name="d1", instances=500, series=4)
D2 = Work(name="d2", instances=2_000, rows=126, columns=64, studies=20)
D3 = Work(name="d3", instances=4, frames=763)
SMALL = Work(name="small", instances=200, rows=126, columns=64, studies=2)
MANY = Work(name="many", instances=10_000, rows=32, columns=64, studies=2_000)
INDEXES = {"index_first": 10_000, "index": 1_000_000}
"""Instances of an index of made-up studies."""
INSTANCES_A_STUDY = 50
OTHERS = {"orthanc": Orthanc, "storescp": Storescp, "dcmqrscp": Dcmqrscp}
OURS = ("stock", "fast")
SERVERS = (*OTHERS, *OURS)
ONE_MATCH, ALL_MATCHES, ECHOES, WARMING = 300, 5, 100, 20
"""How often a round asks each question; the first ones are not measured."""
AT_ONCE, TOO_MANY = 200, 220
RETURN_KEYS = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "AccessionNumber"),
    *("StudyID", "StudyInstanceUID", "StudyDescription", "ReferringPhysicianName", "RetrieveAETitle"),
    *("ModalitiesInStudy", "NumberOfStudyRelatedSeries", "NumberOfStudyRelatedInstances"),
)
"""All of them in the index of each server: for any other one Orthanc reads a file for each match."""


@dataclass
class Bench:
    """One run: where it is, what it sends, and what it has measured."""

    folder: Path
    """For the time of the run."""
    kept: Path
    options: argparse.Namespace
    destination: int = field(default_factory=free_port)
    """Port of what C-MOVE sends to."""
    sources: dict[str, Source] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)

    def source(self, work: Work) -> Source:
        if work.name not in self.sources:
            self.sources[work.name] = make(work.smaller(self.options.part), self.folder / "source" / work.name)
        return self.sources[work.name]

    def server(self, kind: str, folder: Path) -> Server:
        if kind in OTHERS:
            return OTHERS[kind](folder, self.destination)
        template = self.folder / "template"
        if not template.exists():
            furnish(template, self.destination)
        return Portico(folder, self.destination, wire=kind, template=template, listeners=self.options.listeners)


@dataclass(frozen=True)
class Turn:
    """One server at one work."""

    bench: Bench
    kind: str
    server: Server
    round: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--works", type=names_of(WORKS), default=list(WORKS))
    parser.add_argument("--servers", type=names_of(SERVERS), default=list(SERVERS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--part", type=int, default=1)
    parser.add_argument("--listeners", type=int, help="listener processes of Portico; default: as it comes")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        bench = Bench(Path(folder).resolve(), options.folder.resolve(), options)
        for round_ in range(1, options.rounds + 1):
            for name in options.works:
                run_round(bench, name, round_)
    text = "\n".join(bench.tally.report(rounds=options.rounds, part=options.part, load=load))
    print(text)
    if options.part == 1 and set(options.works) == set(WORKS) and set(options.servers) == set(SERVERS):
        results.keep("dimse", text)


def names_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    def names(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: none of {', '.join(known)}")
        return text.split(",")

    return names


def run_round(bench: Bench, name: str, round_: int) -> None:
    """Let each server do a work once, another one first in each round."""
    kinds, measure = WORKS[name]
    chosen = [kind for kind in kinds if kind in bench.options.servers]
    turn = round_ % max(1, len(chosen))
    for kind in chosen[turn:] + chosen[:turn]:
        with bench.tally.attempt(name, kind) as attempt:
            server = bench.server(kind, bench.folder / "store")
            bench.tally.describe(kind, server)
            server.clear()
            try:
                measure(Turn(bench, kind, server, round_), attempt)
            finally:
                server.clear()


def stores(
    figure: str, work: Work, senders: int = 1, *, no_delay: bool = True, retrieved: bool = False, is_tls: bool = False
) -> "Measure":
    """A work that is stored, compared, and perhaps retrieved before that."""

    def measure(turn: Turn, attempt: Attempt) -> None:
        server, source = turn.server, turn.bench.source(work)
        server.tls = Tls.make(turn.bench.folder) if is_tls else None
        source.give_new_uids(turn.round)
        with server.running():
            os.sync()  # what the last server left in memory is not written during this one's turn
            with server.watched() as load:
                seconds = send(server.port, source.folders, senders, no_delay=no_delay, tls=server.tls)
            number = source.work.instances
            attempt.read(figure, (source.megabytes if FIGURES[figure].unit == "MB/s" else number) / seconds)
            attempt.took(figure, load, number)
            if figure == "d3":
                attempt.read("rss", load.peak / (1 << 20))
            if retrieved and server.answers:
                get(turn, source)
                move(turn, source)
        check_store(server, source)

    return measure


def send(port: int, folders: list[Path], senders: int, *, no_delay: bool = True, tls: Tls | None = None) -> float:
    """Seconds until all senders have ended; the folders are divided among them."""
    over = ["+tla", "+cf", str(tls.issuer)] if tls else []
    command = ["storescu", *over, "-aet", CALLING, "-aec", CALLED, "127.0.0.1", str(port), "+sd"]
    share = len(folders) // senders
    began = time.perf_counter()
    running = [
        subprocess.Popen(
            [*command, *(str(each) for each in folders[number * share : (number + 1) * share] if each.exists())],
            env=environment(no_delay),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(senders)
    ]
    codes = [each.wait() for each in running]
    seconds = time.perf_counter() - began
    if any(codes):
        raise Void(f"storescu ended with {codes}")
    return seconds


def environment(no_delay: bool) -> dict[str, str]:
    """DCMTK's programs leave Nagle's algorithm on unless they are told."""
    return {**os.environ, **({"TCP_NODELAY": "1"} if no_delay else {})}


def get(turn: Turn, source: Source) -> None:
    with turn.bench.tally.attempt("get", turn.kind) as attempt, received(turn) as folder:
        call(turn, attempt, "get", source, ["getscu", "+B", "-od", str(folder)])
        check(dict(in_files(folder)), source)


def move(turn: Turn, source: Source) -> None:
    port = turn.bench.destination
    with turn.bench.tally.attempt("move", turn.kind) as attempt, received(turn) as folder:
        command = ["storescp", "--fork", "+B", "-aet", DESTINATION, "-od", str(folder), str(port)]
        taking = subprocess.Popen(command, env=environment(True), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + PATIENCE
            while not accepts(port) and time.monotonic() < deadline:
                time.sleep(0.02)
            call(turn, attempt, "move", source, ["movescu", "-aem", DESTINATION])
        finally:
            taking.terminate()
            taking.wait()
        check(dict(in_files(folder)), source)


@contextmanager
def received(turn: Turn) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=turn.bench.folder) as folder:
        os.sync()
        yield Path(folder)


def call(turn: Turn, attempt: Attempt, figure: str, source: Source, command: list[str]) -> None:
    """Retrieve the first study of a source."""
    ask = ["-aet", CALLING, "-aec", CALLED, "-S", "-k", "QueryRetrieveLevel=STUDY"]
    ask += ["-k", f"StudyInstanceUID={source.study_uid(0, turn.round)}", "127.0.0.1", str(turn.server.port)]
    with turn.server.watched() as load:
        began = time.perf_counter()
        done = subprocess.run([*command, *ask], env=environment(True), capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - began
    if done.returncode:
        raise Void(f"{command[0]}: {done.stderr[-200:]}")
    attempt.read(figure, seconds)
    attempt.took(figure, load, source.work.instances)


def check_store(server: Server, source: Source) -> None:
    """Compare what a server keeps, byte for byte and row for row, after it has ended."""
    check(dict(server.kept()), source)
    if server.has_index and (rows := server.rows()) != Counter(list(source.objects())):
        raise Void(f"its index has {rows.total()} rows of {len(rows)} objects, for {source.work.instances}")


def check(kept: dict[str, Stored], source: Source) -> None:
    objects = source.objects()
    if set(kept) != set(objects):
        raise Void(f"{len(set(kept) & set(objects))} of {len(objects)} objects arrived, {len(kept)} in all")
    if different := [uid for uid, path in objects.items() if not kept[uid].is_same(path)]:
        raise Void(f"{len(different)} of {len(objects)} data sets have other bytes")


def finds(turn: Turn, attempt: Attempt) -> None:
    """Questions to a store of many studies, which is filled once for all rounds."""
    source = turn.bench.source(MANY)
    folder = turn.bench.folder / f"many-{'portico' if turn.kind in OURS else turn.kind}"
    server = turn.bench.server(turn.kind, folder)
    if not folder.exists():
        try:
            with server.running():
                send(server.port, source.folders, len(source.folders))
            check_store(server, source)
        except BaseException:
            shutil.rmtree(folder)
            raise
    uids = [source.study_uid(number, 0) for number in range(source.work.studies)]
    with server.running(), Association(server.port, STUDY_ROOT_FIND) as association:
        one, load = ask_one(server, association, uids, turn.round)
        attempt.read("one", statistics.median(one))
        attempt.took("one", load, WARMING + ONE_MATCH)

        request, times = question(*RETURN_KEYS), []
        with server.watched() as load:
            for _ in range(ALL_MATCHES):
                began = time.perf_counter()
                answers = association.find(request)
                times.append(time.perf_counter() - began)
        check_matches(answers, uids, source.work.instances // source.work.studies)
        attempt.read("all", len(uids) / statistics.median(times))
        attempt.took("all", load, len(uids) * ALL_MATCHES)


def check_matches(answers: Answers, uids: list[str], instances: int) -> None:
    found = answers.decoded()
    if sorted(each.StudyInstanceUID for each in found) != sorted(uids):
        raise Void(f"{len(found)} matches, not those of the {len(uids)} studies")
    counts = {(each.NumberOfStudyRelatedInstances, each.NumberOfStudyRelatedSeries) for each in found}
    if counts != {(instances, 1)}:
        raise Void(f"related instances and series are {sorted(counts)[:3]}")


def ask_one(server: Server, association: Association, uids: list[str], seed: int) -> tuple[list[float], Load]:
    """Milliseconds of each of many questions that have one match."""
    chosen = random.Random(seed).choices(uids, k=WARMING + ONE_MATCH)
    requests = [question("PatientName", "PatientID", "StudyDate", "NumberOfStudyRelatedInstances") for _ in chosen]
    times, answers = [], []
    with server.watched() as load:
        for uid, request in zip(chosen, requests, strict=True):
            request.StudyInstanceUID = uid
            began = time.perf_counter()
            answers.append(association.find(request))
            times.append(MILLISECOND * (time.perf_counter() - began))
    for uid, answer in zip(chosen, answers, strict=True):
        if [each.StudyInstanceUID for each in answer.decoded()] != [uid]:
            raise Void(f"{len(answer.identifiers)} matches for one study")
    return times[WARMING:], load


def question(*keywords: str) -> Dataset:
    request = Dataset()
    request.QueryRetrieveLevel = "STUDY"
    for keyword in keywords:
        setattr(request, keyword, "")
    return request


def indexes(turn: Turn, attempt: Attempt) -> None:
    """One match in a small and in a large index of made-up studies."""
    medians = []
    for figure, size in INDEXES.items():
        instances = size // turn.bench.options.part
        studies = instances // INSTANCES_A_STUDY
        folder = turn.bench.kept / f"index-{instances}"
        if not folder.exists():
            furnish(folder, turn.bench.destination, instances=instances, studies=studies)
        server = turn.bench.server(turn.kind, folder)
        uids = [f"1.2.3.{number}" for number in range(1, studies + 1)]
        with server.running(), Association(server.port, STUDY_ROOT_FIND) as association:
            times, _ = ask_one(server, association, uids, turn.round)
        medians.append(statistics.median(times))
        attempt.read(figure, medians[-1])
    attempt.read("index_p99", sorted(times)[int(0.99 * len(times))])
    attempt.read("index_growth", medians[1] / medians[0])


def associations(turn: Turn, attempt: Attempt) -> None:
    server, tally = turn.server, turn.bench.tally
    with server.running():
        times = []
        for _ in range(WARMING + ECHOES):
            began = time.perf_counter()
            with Association(server.port) as association:
                association.echo()
            times.append(MILLISECOND * (time.perf_counter() - began))
        attempt.read("echo", statistics.median(times[WARMING:]))

        with tally.attempt("together", turn.kind) as all_accepted:
            found = associate_together(server.port, AT_ONCE)
            if len(found.accepted) < AT_ONCE:
                raise Void(f"{found.rejected} refused, {found.lost} without an answer")
            all_accepted.read("together", max(found.accepted))
        time.sleep(1)  # an association counts until its thread or process has ended
        with tally.attempt("refused", turn.kind) as too_many:
            found = associate_together(server.port, TOO_MANY)
            if found.lost:
                raise Void(f"{found.rejected} refused, {found.lost} without an answer")
            too_many.read("refused", found.rejected)


Measure = Callable[[Turn, Attempt], None]
WORKS: dict[str, tuple[tuple[str, ...], Measure]] = {
    "d1": (SERVERS, stores("d1", D1, retrieved=True)),
    "d1x4": (SERVERS, stores("d1x4", D1, 4)),
    "d1tls": (("orthanc", "storescp", *OURS), stores("d1tls", D1, is_tls=True)),
    "d2": (SERVERS, stores("d2", D2)),
    "d2x4": (SERVERS, stores("d2x4", D2, 4)),
    "nagle": (("orthanc", *OURS), stores("nagle", SMALL, no_delay=False)),
    "d3": (SERVERS, stores("d3", D3)),
    "find": (("orthanc", *OURS), finds),
    "index": (OURS, indexes),
    "associations": (SERVERS, associations),
}


if __name__ == "__main__":
    main()
