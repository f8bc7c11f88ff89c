import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.ocpp import rpc
from agent.ocpp.rpc import Call, CallErrorFrame, CallResult, Malformed

ID_36 = "x" * 36
BIG = '[2,"1","DataTransfer",{"vendorId":"v","data":"' + "ä" * 140_000 + '"}]'

HOSTILE = [
    # frame, id of the CALLERROR, its code
    ("", "-1", "RpcFrameworkError"),
    ("hello", "-1", "RpcFrameworkError"),
    ('{"a":1}', "-1", "RpcFrameworkError"),
    ("null", "-1", "RpcFrameworkError"),
    ("2", "-1", "RpcFrameworkError"),
    ("[]", "-1", "RpcFrameworkError"),
    ("[2]", "-1", "RpcFrameworkError"),
    ('[2,"1"]', "1", "RpcFrameworkError"),
    ('[2,"1","Reset"]', "1", "RpcFrameworkError"),
    ('[2,"1","Reset",{},{}]', "1", "RpcFrameworkError"),
    ('[2,"1",["a"],{}]', "1", "RpcFrameworkError"),
    ('[2,"1",null,{}]', "1", "RpcFrameworkError"),
    ('[2,"1","Reset",[]]', "1", "FormatViolation"),
    ('[2,"1","Reset","x"]', "1", "FormatViolation"),
    ('[2,7,"Reset",{}]', "-1", "RpcFrameworkError"),
    ('[2,null,"Reset",{}]', "-1", "RpcFrameworkError"),
    ('[2,"","Reset",{}]', "-1", "RpcFrameworkError"),
    (f'[2,"{ID_36}x","Reset",{{}}]', "-1", "RpcFrameworkError"),
    ('[5,"1",{}]', "1", "MessageTypeNotSupported"),
    ('[6,"1","Stream",{}]', "1", "MessageTypeNotSupported"),
    ("[99]", "-1", "MessageTypeNotSupported"),
    ('[-1,8,"x"]', "-1", "MessageTypeNotSupported"),
    ('[true,"1","Reset",{}]', "1", "RpcFrameworkError"),
    ('["2","1","Reset",{}]', "1", "RpcFrameworkError"),
    ('[2.0,"1","Reset",{}]', "1", "RpcFrameworkError"),
    ('[2,"1","Reset",{"a":NaN}]', "1", "FormatViolation"),
    ('[2,"1","Reset",{"a":-Infinity}]', "1", "FormatViolation"),
    ('[2,"1","Reset",{"a":1e999}]', "1", "FormatViolation"),
    ('[2,"1","Reset",{"a":' + "9" * 30 + "}]", "1", "FormatViolation"),
    ('[2,"1","Reset",{"a":' + "9" * 5000 + "}]", "1", "FormatViolation"),
    ("[" + "9" * 5000 + "]", "-1", "RpcFrameworkError"),
    ('[2,"1","Reset",{"a":1,"a":2}]', "1", "FormatViolation"),
    ('[2,"1","Reset",{"a":"\\ud800"}]', "1", "FormatViolation"),
    ('[2,"1","Reset",{"a":"\ud800"}]', "1", "FormatViolation"),
    ('[2,"\\ud800","Reset",{}]', "-1", "RpcFrameworkError"),
    ('[2,"\\u00e9\\"\\/","Reset",{"a":"\\ud800"}]', 'é"/', "FormatViolation"),
    ('[2,"' + "\\ud83d\\udd0c" * 36 + '","R",{"a":NaN}]', "\U0001f50c" * 36, "FormatViolation"),
    ('[2,"' + "\\u0041" * 37 + '","R",{"a":NaN}]', "-1", "RpcFrameworkError"),
    ('[2,"\ud800","Reset",{}]', "-1", "RpcFrameworkError"),
    ('[2,"1","Reset",{"type":}]', "1", "FormatViolation"),
    ('[2,"1","Reset",{"a":"\x01"}]', "1", "FormatViolation"),
    ("[" * 100_000, "-1", "RpcFrameworkError"),
    ("[" * 100_000 + "]" * 100_000, "-1", "RpcFrameworkError"),
    ('[2,"1","Reset",' + '{"a":' * 50_000 + "1" + "}" * 50_000 + "]", "1", "FormatViolation"),
    ('[2,"1","Reset",{"a":' + "[" * 63 + "]" * 63 + "}]", "1", "FormatViolation"),
    (BIG, "1", "FormatViolation"),
    ("[" + " " * 300_000 + "]", "-1", "RpcFrameworkError"),
]


@pytest.mark.parametrize(
    ("frame", "message_id", "code"), HOSTILE, ids=[repr(row[0][:40]) for row in HOSTILE]
)
def test_a_hostile_frame_gets_the_callerror_of_the_standard(
    frame: str, message_id: str, code: str
) -> None:
    got = rpc.parse(frame)
    assert isinstance(got, Malformed)
    assert got.reply is not None
    reply = json.loads(got.reply)
    assert reply[:3] == [4, message_id, code]
    assert reply[4] == {}
    assert 0 < len(reply[3]) <= 255
    assert got.reason


ANSWERS = [
    ("[3]", None),
    ('[3,"1"]', "1"),
    ('[3,5,{"a":1}]', None),
    ('[3,"1",[]]', "1"),
    ('[3,"1",{},{}]', "1"),
    ('[3,"1",{"a":NaN}]', "1"),
    ('[3,"1",{"a":1,"a":1}]', "1"),
    ('[3,"1",' + "[" * 90_000, "1"),
    ("[3," + "[" * 90_000, None),
    ("[4]", None),
    ('[4,null,"InternalError","",{}]', None),
    ('[4,"1","InternalError","",{"a":}]', "1"),
]


@pytest.mark.parametrize(("frame", "answers"), ANSWERS, ids=[repr(row[0][:30]) for row in ANSWERS])
def test_a_bad_answer_is_never_answered(frame: str, answers: str | None) -> None:
    got = rpc.parse(frame)
    assert isinstance(got, Malformed)
    assert got.reply is None
    assert got.reason
    assert got.answers == answers


GOOD = [
    ('[2,"1","Reset",{"type":"Immediate"}]', Call("1", "Reset", {"type": "Immediate"})),
    (f' [ 2 , "{ID_36}" , "ClearCache" , {{ }} ] ', Call(ID_36, "ClearCache", {})),
    ('[2,"1","ClearCache",null]', Call("1", "ClearCache", {})),
    ('[3,"1",{"a":"ü😀"}]', CallResult("1", {"a": "ü😀"})),
    ('[3,"1",{"a":"\\ud83d\\ude00"}]', CallResult("1", {"a": "😀"})),
    ('[3,"1",null]', CallResult("1", {})),
    ('[4,"1","X","y",{"z":1}]', CallErrorFrame("1", "X", "y", {"z": 1})),
    ('[4,"-1","RpcFrameworkError","",{}]', CallErrorFrame("-1", "RpcFrameworkError", "", {})),
    ('[4,"1","NotImplemented"]', CallErrorFrame("1", "NotImplemented", "", {})),
    ('[4,"1",null,null,null]', CallErrorFrame("1", "GenericError", "", {})),
    ('[3,"1",{"a":9223372036854775807}]', CallResult("1", {"a": 2**63 - 1})),
    ('[3,"1",{"a":[' + ",".join(["[]"] * 500) + "]}]", CallResult("1", {"a": [[]] * 500})),
    ('[3,"1",{"a":"' + "[" * 500 + '"}]', CallResult("1", {"a": "[" * 500})),
]


@pytest.mark.parametrize(("frame", "value"), GOOD, ids=[repr(row[0][:30]) for row in GOOD])
def test_a_good_frame_is_read(frame: str, value: object) -> None:
    assert rpc.parse(frame) == value


@pytest.mark.parametrize(
    "frame",
    [
        '[3,"1",{}]',
        '[3, "1", {}]',
        '[3,"1",{ }]',
        '[ 3,"a b~!",{} ]',
        f'[3,"{36 * "x"}",{{}}]',
        f'[3,"{37 * "x"}",{{}}]',
        '[3,"",{}]',
        '[3,"a\\u0041",{}]',
        '[3,"\\ud800",{}]',
        '[3,"a\x00",{}]',
        '[3,"ü",{}]',
        '[3,"a"b",{}]',
        '[4,"1",{}]',
        '[30,"1",{}]',
        '[3,"1",{}]x',
        '[3,"1",{},{}]',
        '[3,"1",[]]',
    ],
)
def test_a_plain_yes_is_read_as_any_other_frame(
    frame: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = rpc.parse(frame)
    monkeypatch.setattr(rpc, "PLAIN_YES", re.compile("never"))
    assert rpc.parse(frame) == short


def test_the_limit_counts_bytes_not_characters() -> None:
    frame = '[3,"1",{"a":"äää"}]'
    assert isinstance(rpc.parse(frame, max_bytes=len(frame.encode())), CallResult)
    assert isinstance(rpc.parse(frame, max_bytes=len(frame.encode()) - 1), Malformed)


def test_a_frame_full_of_open_quotes_is_scanned_once() -> None:
    frame = "[]" * 65 + '"' + '\\"' * 100_000
    assert isinstance(rpc.parse(frame), Malformed)


def test_a_reply_never_carries_the_bad_frame() -> None:
    got = rpc.parse('[2,"1","Reset",{"password":"secret",}]')
    assert isinstance(got, Malformed)
    assert "secret" not in f"{got.reply}{got.reason}"


def test_frames_of_ours_are_compact_json() -> None:
    assert rpc.call("1", "Heartbeat", {}) == '[2,"1","Heartbeat",{}]'
    assert rpc.call_text("1", "X", '{"a":"ü"}') == '[2,"1","X",{"a":"ü"}]'
    assert rpc.result("1", {"a": "ü"}) == '[3,"1",{"a":"ü"}]'
    assert rpc.error("1", "InternalError") == '[4,"1","InternalError","",{}]'


def test_an_error_description_is_cut_to_255_characters() -> None:
    assert json.loads(rpc.error("1", "InternalError", "x" * 300))[3] == "x" * 255


def test_an_error_is_sendable_whatever_it_says() -> None:
    rpc.error("1", "InternalError", 'half \ud800 "quoted"\n').encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inside: st.lists(inside) | st.dictionaries(st.text(), inside),
    max_leaves=12,
)
FRAMES = st.text(st.characters()) | st.lists(
    st.sampled_from([2, 3, 4, 5, "1", "Reset", True, None, {}]) | JSON, max_size=6
).map(json.dumps)


@given(FRAMES)
@settings(max_examples=300, deadline=None)
def test_nothing_raises_and_every_reply_is_a_callerror_that_can_be_sent(frame: str) -> None:
    got = rpc.parse(frame)
    if isinstance(got, Malformed) and got.reply is not None:
        got.reply.encode()
        kind, message_id, code, description, details = json.loads(got.reply)
        assert (kind, details) == (4, {})
        assert 1 <= len(message_id) <= 36
        assert code in {"RpcFrameworkError", "FormatViolation", "MessageTypeNotSupported"}
        assert len(description) <= 255
        # our own answer must not start a game of ping-pong
        assert isinstance(rpc.parse(got.reply), CallErrorFrame)
