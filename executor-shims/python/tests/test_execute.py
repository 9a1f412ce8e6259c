"""What needs no process: run with ``python -m unittest discover -s tests`` in the folder above."""

import json
import os
import sys
import types
import unittest
from decimal import Decimal
from unittest import mock

from reproq_executor import NonRetryableError, Postpone, RetryAfter, checkpoint, current, progress, task
from reproq_executor.execute import Order, execute


def _module(**tasks):
    module = types.ModuleType("temporary_tasks")
    vars(module).update(tasks)
    sys.modules[module.__name__] = module


def _run(function, *args, spec=None, **kwargs):
    _module(task=function)
    payload = {"task_path": "temporary_tasks.task", "args": args, "kwargs": kwargs, **(spec or {})}
    return json.loads(execute(lambda: json.dumps(payload).encode(), Order("7", 2)))


def _raise(error):
    raise error


class Execute(unittest.TestCase):
    def test_returns_what_the_task_returns(self):
        self.assertEqual(_run(lambda a, *, b: [a, b], 1, b="é"), {"ok": True, "return": [1, "é"]})

    def test_the_run_is_known_to_its_task(self):
        self.assertEqual(_run(lambda: [current().run_id, current().attempt])["return"], ["7", 2])

    def test_a_task_may_have_a_name_of_its_own_and_stays_the_function_it_is(self):
        def add(a, b):
            return a + b

        self.assertIs(task(name="sums/add")(add), add)
        self.assertIs(task(add), add)
        self.assertEqual(json.loads(execute(lambda: b'{"task_path":"sums/add","args":[1,2]}', Order("7", 1)))["return"], 3)
        with self.assertRaisesRegex(ValueError, "named 'sums/add'"):
            task(name="sums/add")(lambda: None)
        self.assertIn("a module loaded at the start", json.loads(execute(lambda: b'{"task_path":"nameless"}', Order("7", 1)))["message"])

    def test_metadata_and_attempts_are_known_to_the_task(self):
        self.assertEqual(_run(lambda: current().metadata, spec={"metadata": {"tenant": 7}})["return"], {"tenant": 7})
        order = Order("7", 2, max_attempts=5)
        _module(task=lambda: [current().attempt, current().max_attempts])
        self.assertEqual(json.loads(execute(lambda: b'{"task_path":"temporary_tasks.task"}', order))["return"], [2, 5])

    def test_parents_are_known_to_a_run_of_a_workflow(self):
        parents = {"fetch": {"run": "6", "status": "SUCCESSFUL", "output": [1.5]}}
        self.assertEqual(_run(lambda: current().parents["fetch"]["output"], spec={"parents": parents})["return"], [1.5])
        self.assertEqual(_run(lambda: current().parents)["return"], {})
        self.assertEqual(_run(lambda: 1, spec={"parents_error": "too large"})["return"], 1, "who does not ask is not told")
        refused = _run(lambda: current().parents, spec={"parents_error": "too large"})
        self.assertEqual((refused["exception_class"], refused["retryable"]), ("reproq_executor.ParentsUnavailable", False))
        self.assertIn("temporary_tasks.task (run 7) asked for its parents: too large", refused["message"])

    def test_progress_is_told_as_it_comes_and_its_last_checkpoint_is_known(self):
        told = []

        def work():
            before = current().checkpoint
            progress(50)
            checkpoint([1])
            return [before, current().checkpoint]

        _module(task=work)
        order = Order("7", 2, checkpoint="[0]", report=told.append)
        self.assertEqual(json.loads(execute(lambda: b'{"task_path":"temporary_tasks.task"}', order))["return"], [[0], [1]])
        self.assertEqual(told, ['{"pct":50}', '{"checkpoint":[1]}'])
        self.assertEqual(_run(lambda: progress(1)), {"ok": True, "return": None}, "nobody listens")
        self.assertEqual(_run(lambda: checkpoint(object()))["exception_class"], "TypeError")

    def test_a_run_is_told_what_time_it_was_granted_or_why_it_was_not(self):
        def ask(seconds, extend=None, report=print):
            _module(task=lambda: current().extend(seconds))
            return json.loads(execute(lambda: '{"task_path":"temporary_tasks.task"}', Order("7", 1, report=report, extend=extend)))

        asked = []
        self.assertEqual(ask(0.0001, lambda ms, _: asked.append(ms) or {"timeout_ms": 1500}), {"ok": True, "return": 1.5})
        self.assertEqual(asked, [1], "a short time is never none")
        refused = ask(60, lambda ms, _: {"code": "maximum_reached", "message": "nothing is left"})
        self.assertEqual((refused["exception_class"], refused["message"]), ("reproq_executor.ExtendRefused", "nothing is left"))
        self.assertIn("Upgrade it", ask(60)["message"])
        self.assertEqual(ask(60, report=None)["return"], 60, "by hand nobody limits it")
        for seconds in (0, -1, float("nan"), float("inf")):
            self.assertEqual(ask(seconds)["exception_class"], "ValueError")

    def test_a_stop_waits_for_a_block_that_must_not_be_interrupted(self):
        from reproq_executor.context import stop_active

        seen = []

        def work():
            with current().uninterrupted():
                with current().uninterrupted():
                    stop_active()
                seen.append(current().cancelled)
            seen.append("not reached")

        self.assertEqual(_run(work)["exception_class"], "reproq_executor.Terminated")
        self.assertEqual(seen, [True])

    def test_a_django_project_is_loaded_once_before_its_tasks_and_looked_after_between_them(self):
        from reproq_executor import django_project

        calls = []
        apps = types.SimpleNamespace(ready=False, get_app_configs=lambda: [types.SimpleNamespace(name="shop")])

        def setup():
            calls.append("setup")
            apps.ready = True

        database = types.ModuleType("django.db")
        database.reset_queries = lambda: calls.append("reset")
        database.close_old_connections = lambda: calls.append("look")
        database.connections = types.SimpleNamespace(close_all=lambda: calls.append("close"))
        modules = {"django": types.ModuleType("django"), "django.apps": types.ModuleType("django.apps"), "django.db": database}
        modules["django"].setup = setup
        modules["django.apps"].apps = apps
        with mock.patch.dict(sys.modules, modules):
            self.assertEqual(_run(lambda: list(calls))["return"], [], "not without its settings")
            with mock.patch.dict(os.environ, {"DJANGO_SETTINGS_MODULE": "shop.settings"}):
                self.assertEqual([_run(lambda: list(calls))["return"] for _ in range(2)], [["setup"], ["setup"]])
                self.assertEqual(django_project.set_up(), ["shop.tasks"])
                django_project.between_runs()
                django_project.close_connections()
        self.assertEqual(calls, ["setup", "reset", "look", "close"])

    def test_current_outside_a_run_says_so(self):
        import contextvars

        with self.assertRaisesRegex(RuntimeError, "outside a run"):
            contextvars.Context().run(current)

    def test_a_payload_that_cannot_be_executed_is_final(self):
        for payload in (b"", b"nonsense", b"[]", b"\xff", b"{}", b'{"task_path":"a.b","args":{}}', b'{"task_path":"a.b","kwargs":[]}'):
            envelope = json.loads(execute(lambda p=payload: p, Order("7", 1)))
            self.assertEqual((envelope["exception_class"], envelope["retryable"]), ("PayloadError", False), payload)

    def test_a_path_that_leads_nowhere_is_an_import_error(self):
        for path in ("nowhere.task", "json.nothing", "json.__doc__"):
            envelope = json.loads(execute(lambda p=path: json.dumps({"task_path": p}).encode(), Order("7", 1)))
            self.assertEqual(envelope["exception_class"], "ImportError", path)

    def test_a_name_that_is_no_path_is_final(self):
        for path in ("json", "json..x"):
            envelope = json.loads(execute(lambda p=path: json.dumps({"task_path": p}).encode(), Order("7", 1)))
            self.assertEqual((envelope["exception_class"], envelope["retryable"]), ("UnknownTask", False), path)
            self.assertIn(f"No task of this worker is named {path!r}", envelope["message"])

    def test_a_module_that_lacks_an_import_is_shown_as_it_is(self):
        envelope = json.loads(execute(lambda: b'{"task_path":"broken_tasks.task"}', Order("7", 1)))
        self.assertEqual(envelope["exception_class"], "ModuleNotFoundError")
        self.assertIn("broken_tasks.py", envelope["traceback"])

    def test_errors_say_what_shall_happen_next(self):
        self.assertIs(_run(lambda: _raise(NonRetryableError("x")))["retryable"], False)
        self.assertEqual(_run(lambda: _raise(Postpone(0.25)))["postpone_ms"], 250)
        self.assertNotIn("hold_queue", _run(lambda: _raise(Postpone(0.25))))
        self.assertIs(_run(lambda: _raise(Postpone(0.25, queue=True)))["hold_queue"], True)
        self.assertEqual(_run(lambda: _raise(RetryAfter(0.25)))["retry_after_ms"], 250)
        self.assertNotIn("retryable", _run(lambda: _raise(ValueError("x"))))

    def test_an_error_that_cannot_be_printed_is_still_reported(self):
        class Mute(Exception):
            def __str__(self):
                raise ValueError

        self.assertIn("__str__", _run(lambda: _raise(Mute()))["message"])

    def test_what_json_cannot_express_is_named_by_its_place(self):
        endless = []
        endless.append(endless)
        for value, place in (([Decimal(1)], "[0] is of type decimal.Decimal"), ({"a": {(1, 2): 3}}, "['a'] has a key of type tuple"), (endless, "contains itself"), (float("inf"), "is inf")):
            envelope = _run(lambda v=value: v)
            self.assertEqual((envelope["exception_class"], envelope["retryable"]), ("InvalidOutput", False))
            self.assertIn(place, envelope["message"])


if __name__ == "__main__":
    unittest.main()
