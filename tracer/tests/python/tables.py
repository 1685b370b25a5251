"""Whether a Parquet export says what the report of the same recording says, asked in SQL of two engines.

tables.py EXPORT REPORT SQL [HOST]: the directory, the report as JSON, the directory of the queries, and the
host's name where it is not the report's.
"""

import hashlib
import json
import sys
from pathlib import Path

import duckdb
import polars

TABLES = ("transitions", "connections")
COUNTED = """conn is null or conn in (select conn from connections where conn is not null) or conn in (
    select conn from transitions where new_state = 'LISTEN' or old_state = 'LISTEN' and new_state <> 'SYN_RECV')"""


def check_manifest(export: Path) -> dict:
    """The manifest names each file, and each is as it says."""
    manifest = json.loads((export / "_manifest.json").read_text())
    there = {str(p.relative_to(export)) for p in export.rglob("*") if p.is_file()}
    assert there == {f["path"] for f in manifest["files"]} | {"_manifest.json"}, there
    rows = dict.fromkeys(TABLES, 0)
    for file in manifest["files"]:
        content = (export / file["path"]).read_bytes()
        assert len(content) == file["bytes"] and hashlib.sha256(content).hexdigest() == file["sha256"], file
        rows[file["table"]] += file["rows"]
    assert rows == manifest["rows"], (rows, manifest["rows"])
    assert manifest["complete"] is True
    return manifest


class DuckDb:
    def __init__(self, export: Path):
        self.connection = duckdb.connect()
        for table in TABLES:
            files = str(export / table / "**" / "*.parquet")
            self.connection.execute(
                f"create view {table} as select * from read_parquet('{files}', hive_partitioning = true)"
            )

    def leave_out(self, query: str) -> None:
        self.connection.execute("alter view transitions rename to told")
        self.connection.execute(f"create view transitions as select * from told where {query}")

    def ask(self, query: str) -> list[tuple]:
        return self.connection.execute(query).fetchall()


class Polars:
    def __init__(self, export: Path):
        frames = {t: polars.scan_parquet(export / t, hive_partitioning=True) for t in TABLES}
        self.context = polars.SQLContext(frames)

    def leave_out(self, query: str) -> None:
        told = self.context.execute("select * from transitions", eager=False)
        self.context.register("told", told)
        self.context.register("transitions", self.context.execute(f"select * from told where {query}", eager=False))

    def ask(self, query: str) -> list[tuple]:
        return self.context.execute(query, eager=True).rows()


def plain(rows: list[tuple]) -> list[tuple]:
    """Decimals and floats that are whole are numbers like any other."""
    whole = lambda v: int(v) if v is not None and not isinstance(v, (str, bool)) and v == int(v) else v
    return [tuple(whole(v) for v in row) for row in rows]


def table(rows: list[tuple]) -> dict:
    return {row[0]: row[1:] for row in rows}


def check(answers: dict[str, list[tuple]], report: dict, manifest: dict) -> None:
    counted = {k: n for k, n in report["closed_first"].items() if n}
    assert dict(answers["closed_first"]) == counted, (answers["closed_first"], counted)

    states = report["states"]
    entered = {state: f["entered"] for state, f in states.items() if f["entered"]}
    asked = {state: n for state, n in answers["states_entered"] if state in states}
    assert asked == entered, (asked, entered)

    dwells = {s: f["dwell"] for s, f in states.items() if f["dwell"]["count"]}
    asked = {s: row for s, row in table(answers["dwell"]).items() if s in states}
    assert asked.keys() == dwells.keys(), (asked, dwells)
    for state, (stays, sum_us, min_us, max_us, p50, p90, p99) in asked.items():
        dwell = dwells[state]
        exact = (stays, sum_us // stays, min_us, max_us)
        assert exact == tuple(dwell[k] for k in ("count", "mean_us", "min_us", "max_us")), (state, exact, dwell)
        # A report's quantiles are those of a histogram with two significant digits.
        for ours, theirs in ((p50, "p50_us"), (p90, "p90_us"), (p99, "p99_us")):
            assert min_us <= ours <= max_us
            assert stays < 20 or abs(ours - dwell[theirs]) <= 0.02 * dwell[theirs] + 1, (state, ours, dwell)

    if report["time_wait"]["ended"]["expired"] is not None:
        ended = report["time_wait"]["ended"]
        asked = {reason: row[0] for reason, row in table(answers["time_wait_ends"]).items()}
        for reason, count in ended.items():
            if reason != "unknown":
                assert asked.get(reason, 0) == count, (reason, asked, ended)
        assert sum(asked.values()) == sum(ended.values()), (asked, ended)

    connections = report["connections"]
    balance = answers["connections"]
    outcome = lambda name: sum(n for _, _, o, n in balance if o == name)
    began = lambda name, role=None: sum(n for b, r, _, n in balance if b == name and role in (None, r))
    asked = {
        "opened": {"active": began("opened", "active_open"), "passive": began("opened", "passive_open")},
        "preexisting": began("preexisting"),
        "closed": outcome("closed"),
        "open": outcome("open"),
        "unseen_ends": outcome("unseen"),
    }
    assert asked == {k: connections[k] for k in asked}, (asked, connections)
    failed = sum(connections["failed"].values())
    assert outcome("failed") == failed
    assert sum(row[-1] for row in answers["failed"]) == failed

    groups = {row["key"]: row for row in report["groups"]["remote"] if row["kind"] == "key"}
    for raddr, count, local, remote, failed in answers["top_remotes"]:
        if raddr is not None and raddr in groups:
            row = groups[raddr]
            ours = (count, local, remote, failed)
            first = row["closed_first"]
            assert ours == (row["connections"], first["local"], first["remote"], row["failed"]), (ours, row)
    waiting = sum(row[3] for row in answers["close_wait"])
    # Of what disagrees with itself, a listener may be in any state.
    irregular = report["completeness"]["irregular"]
    assert waiting == report["close_wait"]["open"] or irregular, (waiting, report["close_wait"])
    assert manifest["recordings"][0]["completeness"] == report["completeness"]


def main() -> None:
    export, report, sql = (Path(argument) for argument in sys.argv[1:4])
    report = json.loads(report.read_text())
    host = sys.argv[4] if len(sys.argv) > 4 else report["host"]
    manifest = check_manifest(export)
    engines = [DuckDb(export), Polars(export)]
    queries = sorted(sql.glob("*.sql"))
    assert len(queries) >= 9, queries
    for engine in engines:
        # What the recording's filter did not want after all has no connection, and no report counts it.
        ((unwanted,),) = plain(engine.ask(f"select count(*) from transitions where not ({COUNTED})"))
        assert unwanted == sum(r["unwanted_transitions"] for r in manifest["recordings"]), unwanted
        rows = plain(engine.ask("select count(*) from transitions"))
        assert rows == [(manifest["rows"]["transitions"],)]
        if unwanted:
            engine.leave_out(COUNTED.replace("from transitions", "from told"))
        answers = {query.stem: plain(engine.ask(query.read_text())) for query in queries}
        check(answers, report, manifest)
        for name in TABLES:
            hosts = engine.ask(f"select distinct host from {name}")
            assert hosts == [(host,)], hosts
        again = answers if engine is engines[0] else again
        for name, rows in answers.items():
            assert rows == again[name], (name, rows, again[name])
    print(f"{len(queries)} queries, {manifest['rows']}: as reported")


if __name__ == "__main__":
    main()
