"""Arms in parallel: order, failures, lateness, threads."""

import asyncio
import contextvars
import json
import logging
import subprocess
import sys
import threading
import time

import pytest

from limiar.errors import ArmError, ConfigurationError, InputError, InputTypeError
from limiar.retrieval import arm_threads as arm_threads_module
from limiar.retrieval.arm_threads import ArmThreads
from limiar.retrieval.arms import arun_arms, in_arm_thread, run_arms
from limiar.retrieval.ensemble import Candidate, Ensemble, named_arms, native_score
from limiar.retrieval.fusion import ArmHit, FusedHit
from limiar.retrieval.provenance import FUSION_KEYS, fusion_marks, without_fusion_marks


def as_async(function):
    async def call():
        return function()

    return call


@pytest.fixture(params=["sync", "async"])
def ask(request):
    """Both ways in, for arms that do not wait."""

    async def ask(arms, **options):
        if request.param == "sync":
            return run_arms(arms, **options)
        return await arun_arms({name: as_async(arm) for name, arm in arms.items()}, **options)

    return ask


def fails():
    raise ValueError("secret query text")


# What comes back


async def test_results_come_by_name_in_the_arms_order(ask):
    results = await ask({"z": lambda: 1, "a": lambda: None, "m": list})
    assert list(results.found.items()) == [("z", 1), ("a", None), ("m", [])]
    assert results.skipped == {}


async def test_a_failing_arm_raises_with_its_name_and_cause(ask):
    with pytest.raises(ArmError, match="arm 'bad' failed: ValueError") as caught:
        await ask({"good": lambda: 1, "bad": fails})
    assert caught.value.arms == ("bad",)
    assert isinstance(caught.value.__cause__, ValueError)


async def test_a_failing_arm_is_skipped_visibly(ask, caplog):
    with caplog.at_level(logging.WARNING, logger="limiar"):
        results = await ask({"good": lambda: 1, "bad": fails}, on_error="skip")
    assert results.found == {"good": 1}
    assert results.skipped == {"bad": "ValueError: secret query text"}
    assert [record.getMessage() for record in caplog.records] == ["arm bad skipped: ValueError"]


@pytest.mark.parametrize("on_error", ["raise", "skip"])
async def test_all_failing_always_raises(ask, on_error):
    with pytest.raises(ArmError) as caught:
        await ask({"a": fails, "b": fails}, on_error=on_error)
    assert isinstance(caught.value.__cause__, ValueError)
    if on_error == "skip":
        assert caught.value.arms == ("a", "b")


@pytest.mark.parametrize(
    "options",
    [{"timeout": 0}, {"timeout": -1.0}, {"timeout": float("nan")}, {"timeout": float("inf")}, {"timeout": True},
     {"timeout": "2"}, {"on_error": "ignore"}],
)  # fmt: skip
async def test_unfit_options(ask, options):
    with pytest.raises(ConfigurationError):
        await ask({"a": list}, **options)


async def test_no_arm(ask):
    with pytest.raises(ConfigurationError, match="there is no arm"):
        await ask({})


async def test_the_arms_see_the_callers_context(ask):
    variable = contextvars.ContextVar("variable")
    variable.set("here")
    assert (await ask({"a": variable.get, "b": variable.get})).found == {"a": "here", "b": "here"}


# Lateness


def test_arms_run_at_the_same_time():
    barrier = threading.Barrier(3, timeout=20)
    assert set(run_arms({"a": barrier.wait, "b": barrier.wait, "c": barrier.wait}).found.values()) == {0, 1, 2}


async def test_async_arms_run_at_the_same_time():
    first, second = asyncio.Event(), asyncio.Event()

    async def a():
        first.set()
        await second.wait()

    async def b():
        await first.wait()
        second.set()

    await asyncio.wait_for(arun_arms({"a": a, "b": b}), 20)


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_a_late_arm(on_error):
    release, returned = threading.Event(), threading.Event()

    def late():
        release.wait(60)
        returned.set()

    try:
        if on_error == "skip":
            results = run_arms({"late": late, "fast": lambda: 1}, timeout=0.1, on_error="skip")
            assert results.found == {"fast": 1}
            assert results.skipped == {"late": "TimeoutError: no answer within 0.1 s"}
        else:
            with pytest.raises(ArmError, match=r"arm 'late' is late: no answer within 0\.1 s") as caught:
                run_arms({"late": late, "fast": lambda: 1}, timeout=0.1)
            assert isinstance(caught.value.__cause__, TimeoutError)
        assert not returned.is_set()
    finally:
        release.set()
    assert returned.wait(20)


def test_a_failure_does_not_wait_for_the_other_arms():
    release = threading.Event()
    try:
        with pytest.raises(ArmError, match="arm 'bad' failed"):
            run_arms({"slow": lambda: release.wait(60), "bad": fails})
        assert not release.is_set()
    finally:
        release.set()


@pytest.mark.parametrize("on_error", ["raise", "skip"])
async def test_a_late_async_arm_is_cancelled(on_error):
    cancelled = asyncio.Event()

    async def late():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    asked = arun_arms({"late": late, "fast": as_async(lambda: 1)}, timeout=0.05, on_error=on_error)
    if on_error == "skip":
        assert (await asked).skipped == {"late": "TimeoutError: no answer within 0.05 s"}
    else:
        with pytest.raises(ArmError, match="arm 'late' is late"):
            await asked
    await asyncio.wait_for(cancelled.wait(), 20)


async def test_cancelling_the_caller_cancels_the_arms():
    started, cancelled = asyncio.Event(), asyncio.Event()

    async def arm():
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    task = asyncio.ensure_future(arun_arms({"a": arm}, on_error="skip"))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(cancelled.wait(), 20)


async def test_an_arm_that_is_cancelled_from_within_is_a_failed_arm():
    async def cancelled():
        raise asyncio.CancelledError

    results = await arun_arms({"a": cancelled, "b": as_async(lambda: 1)}, on_error="skip")
    assert list(results.skipped) == ["a"]


def test_a_keyboard_interrupt_is_no_arm_error():
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_arms({"a": interrupt, "b": list}, on_error="skip")


# Threads


def test_nested_arms_do_not_deadlock_when_no_thread_is_free(monkeypatch):
    monkeypatch.setattr(arm_threads_module, "_threads", ArmThreads(1))

    def nested(depth):
        if not depth:
            return 1
        return sum(run_arms({"a": lambda: nested(depth - 1), "b": lambda: nested(depth - 1)}).found.values())

    assert nested(5) == 32


def test_threads_are_bounded_and_given_back(monkeypatch):
    threads = ArmThreads(2)
    monkeypatch.setattr(arm_threads_module, "_threads", threads)
    before = arm_threads_alive()
    release = threading.Event()
    hanging = {str(n): lambda: release.wait(60) for n in range(5)}
    try:
        with pytest.raises(ArmError, match="every arm failed"):
            run_arms(hanging, timeout=0.1, on_error="skip")
        assert arm_threads_alive() - before <= 2
        with pytest.raises(ArmError, match="late"):
            run_arms({"a": list}, timeout=0.05)
    finally:
        release.set()
    assert run_arms({"a": lambda: 1}, timeout=20).found == {"a": 1}
    for _ in range(2):
        assert threads.take_slot(timeout=20)


def arm_threads_alive():
    return sum(thread.name == "limiar-arm" for thread in threading.enumerate())


def test_a_thread_is_kept_for_the_next_arm(monkeypatch):
    monkeypatch.setattr(arm_threads_module, "_threads", ArmThreads(2))
    names = set()
    for _ in range(5):
        names.add(run_arms({"a": threading.get_ident}).found["a"])
        arm_threads_module.arm_threads().wait(5)
    assert len(names) == 1


def test_an_idle_thread_ends(monkeypatch):
    monkeypatch.setattr(arm_threads_module, "_threads", ArmThreads(1))
    monkeypatch.setattr(arm_threads_module, "_IDLE_SECONDS", 0.01)
    thread = run_arms({"a": threading.current_thread}).found["a"]
    thread.join(20)
    assert not thread.is_alive()
    assert run_arms({"a": lambda: 1}).found == {"a": 1}


async def test_a_blocking_arm_in_a_thread_leaves_the_loop_free():
    release = threading.Event()
    waiting = asyncio.ensure_future(in_arm_thread(lambda: release.wait(60)))
    await asyncio.sleep(0)
    release.set()
    assert await waiting
    with pytest.raises(ValueError, match="secret"):
        await in_arm_thread(fails)


def test_a_late_thread_does_not_hold_up_the_end_of_the_program():
    program = (
        "import time\nfrom limiar.retrieval.arms import run_arms\n"
        "print(run_arms({'late': lambda: time.sleep(120), 'fast': lambda: 1}, timeout=0.05, on_error='skip').found)\n"
    )
    started = time.monotonic()
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)
    assert run.stdout.strip() == "{'fast': 1}"
    assert time.monotonic() - started < 60


def test_what_is_local_to_a_thread_is_freed_before_the_program_ends():
    """A library's object that is freed while the interpreter goes away aborts the process."""
    program = (
        "import threading, time\nfrom limiar.retrieval.arms import run_arms\n"
        "local = threading.local()\n"
        "class Held:\n"
        "    def __del__(self): time.sleep(0.3); print('freed', flush=True)\n"
        "def arm(): local.held = Held()\n"
        "run_arms({'a': arm, 'b': arm})\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=100)
    assert (run.stdout, run.stderr) == ("freed\nfreed\n", "")


# The ensemble and its marks


def test_the_item_is_that_of_the_arm_which_ranks_it_best():
    first, second = [Candidate("x", 1.0, "x1"), Candidate("y", 0.5, "y1")], [Candidate("y", 9.0, "y2")]
    result = Ensemble(["first", "second"]).run({"first": lambda: first, "second": lambda: second}, limit=9)
    assert [fused.item for fused in result.items] == ["y2", "x1"]
    tied = Ensemble(["second", "first"]).run({"first": lambda: first[:1], "second": lambda: [first[0]]}, limit=9)
    assert tied.items[0].hit.arms == {"second": ArmHit(1, 1.0), "first": ArmHit(1, 1.0)}


def test_a_zero_weight_arm_gives_no_item():
    arms = {"a": lambda: [Candidate("x", None, "no"), Candidate("y", None, "no")],
            "b": lambda: [Candidate("z", None, "yes"), Candidate("y", None, "yes")]}  # fmt: skip
    result = Ensemble(["a", "b"], weights={"a": 0}).run(arms, limit=9)
    assert [(fused.item, fused.hit.id) for fused in result.items] == [("yes", "z"), ("yes", "y")]
    assert result.items[1].hit.arms["a"].rank == 2


def test_only_zero_weight_arms_left_is_a_failure():
    with pytest.raises(ArmError, match="every arm with a weight above 0 failed: b: ValueError"):
        Ensemble(["a", "b"], weights=[0, 1], on_error="skip").run({"a": list, "b": fails}, limit=9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weights": [1.0]}, "1 weights for 2 arms"),
        ({"weights": {"c": 1.0}}, "unknown arm in the weights: c"),
        ({"weights": "ab"}, "expected a mapping"),
        ({"weights": [0, 0]}, "every arm weight is 0"),
        ({"fusion": "sum"}, "fusion='sum'"),
        ({"rrf_k": 0}, "rrf_k=0"),
        ({"drop_zero": ["c"]}, "expected a list of arms"),
        ({"drop_zero": "a"}, "expected a list of arms"),
    ],
)
def test_an_unfit_ensemble(options, message):
    with pytest.raises(ConfigurationError, match=message):
        Ensemble(["a", "b"], **options)


def test_names():
    assert named_arms(["x", "y"]) == {"arm1": "x", "arm2": "y"}
    for unfit in ("xy", 3, {"": 1}, {3: 1}):
        with pytest.raises(ConfigurationError):
            named_arms(unfit)


def test_native_scores():
    numpy = pytest.importorskip("numpy")
    score = native_score(numpy.float32(0.5))
    assert (type(score), score) == (float, 0.5)
    assert native_score(None) is None
    for unfit in ("0.5", True, []):
        with pytest.raises(InputTypeError):
            native_score(unfit)
    for unfit in (float("nan"), numpy.float32("inf")):
        with pytest.raises(InputError, match="expected a finite number"):
            native_score(unfit)


def test_marks():
    hit = FusedHit("x", 0.5, {"bm25": ArmHit(2, 7.1), "dense": ArmHit(1, None)})
    added = fusion_marks(hit, {"slow": "TimeoutError: no answer within 1.0 s"})
    assert json.loads(json.dumps(added)) == {
        "fused_score": 0.5,
        "retrieval": {"bm25": {"rank": 2, "score": 7.1}, "dense": {"rank": 1, "score": None}},
        "retrieval_skipped": {"slow": "TimeoutError: no answer within 1.0 s"},
    }
    assert set(added) == FUSION_KEYS
    assert "retrieval_skipped" not in fusion_marks(hit, {})
    assert without_fusion_marks({**added, "source": "a.pdf"}) == {"source": "a.pdf"}
