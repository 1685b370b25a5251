"""Whether a trace is what Perfetto's published schema says, and has the connections of the report.

tracks.py TRACE REPORT: the trace, and the report of the same recording as JSON.
"""

import json
import sys
from collections import Counter
from pathlib import Path

from google.protobuf.unknown_fields import UnknownFieldSet
from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as schema

EVENT = schema.TrackEvent


def check_known(message) -> None:
    """No field that the schema does not have, and none of another type."""
    assert len(UnknownFieldSet(message)) == 0, message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for inner in value if field.is_repeated else [value]:
                check_known(inner)


def main() -> None:
    trace = schema.Trace()
    trace.ParseFromString(Path(sys.argv[1]).read_bytes())
    report = json.loads(Path(sys.argv[2]).read_text())
    check_known(trace)

    parents: dict[int, int] = {}
    names: dict[int, str] = {}
    began: set[int] = set()
    state: dict[int, str | None] = {}
    latest: dict[int, int] = {}
    slices: Counter = Counter()
    clock = schema.BuiltinClock.Value("BUILTIN_CLOCK_REALTIME")
    for packet in trace.packet:
        sequence = packet.trusted_packet_sequence_id
        assert sequence, packet
        first = bool(packet.sequence_flags & schema.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED)
        assert first == (sequence not in began), packet
        began.add(sequence)
        if packet.HasField("clock_snapshot"):
            assert packet.clock_snapshot.primary_trace_clock == clock
            assert [c.clock_id for c in packet.clock_snapshot.clocks] == [clock]
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            assert track.uuid and track.uuid not in names and track.name, track
            assert not track.parent_uuid or track.parent_uuid in names, track
            names[track.uuid], parents[track.uuid] = track.name, track.parent_uuid
        if packet.HasField("track_event"):
            event = packet.track_event
            uuid = event.track_uuid
            assert uuid in names and packet.timestamp_clock_id == clock, packet
            assert packet.timestamp >= latest.get(uuid, 0), packet
            latest[uuid] = packet.timestamp
            if event.type == EVENT.TYPE_SLICE_BEGIN:
                assert state.get(uuid) is None and list(event.categories) == ["tcp"], event
                state[uuid] = event.name
                slices[event.name] += 1
            else:
                assert event.type == EVENT.TYPE_SLICE_END and state.get(uuid), event
                state[uuid] = None

    hosts = {uuid for uuid, parent in parents.items() if not parent}
    processes = {uuid for uuid, parent in parents.items() if parent in hosts}
    connections = {uuid for uuid, parent in parents.items() if parent in processes}
    assert hosts | processes | connections == names.keys()
    assert state.keys() <= connections, "connections have slices, and nothing else has"
    assert {names[uuid] for uuid in hosts} == {report["host"]}, names

    # Every stay that the report counts is a slice, and no other (what listeners never do apart).
    if report["completeness"]["irregular"]:
        report["states"] = {}
    entries = ("found", "entered", "entered_unseen")
    for name, figures in report["states"].items():
        if name not in ("LISTEN", "CLOSE") and figures["found"] is not None:
            stays = sum(figures[entry] for entry in entries)
            assert slices[name] == stays, (name, slices, figures)
    print(f"{len(processes)} processes, {len(connections)} connections, {sum(slices.values())} slices: as reported")


if __name__ == "__main__":
    main()
