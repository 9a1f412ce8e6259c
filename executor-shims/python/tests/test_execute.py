"""What needs no process: run with ``python -m unittest discover -s tests`` in the folder above."""

import json
import sys
import types
import unittest
from decimal import Decimal

from reproq_executor import NonRetryableError, RetryAfter, current
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

    def test_current_outside_a_run_says_so(self):
        import contextvars

        with self.assertRaisesRegex(RuntimeError, "outside a run"):
            contextvars.Context().run(current)

    def test_a_payload_that_cannot_be_executed_is_final(self):
        for payload in (b"", b"nonsense", b"[]", b"\xff", b"{}", b'{"task_path":"a.b","args":{}}', b'{"task_path":"a.b","kwargs":[]}'):
            envelope = json.loads(execute(lambda p=payload: p, Order("7", 1)))
            self.assertEqual((envelope["exception_class"], envelope["retryable"]), ("PayloadError", False), payload)

    def test_a_path_that_leads_nowhere_is_an_import_error(self):
        for path in ("nowhere.task", "json.nothing", "json", "json..x", "json.__doc__"):
            envelope = json.loads(execute(lambda p=path: json.dumps({"task_path": p}).encode(), Order("7", 1)))
            self.assertEqual(envelope["exception_class"], "ImportError", path)

    def test_a_module_that_lacks_an_import_is_shown_as_it_is(self):
        envelope = json.loads(execute(lambda: b'{"task_path":"broken_tasks.task"}', Order("7", 1)))
        self.assertEqual(envelope["exception_class"], "ModuleNotFoundError")
        self.assertIn("broken_tasks.py", envelope["traceback"])

    def test_errors_say_what_shall_happen_next(self):
        self.assertIs(_run(lambda: _raise(NonRetryableError("x")))["retryable"], False)
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
