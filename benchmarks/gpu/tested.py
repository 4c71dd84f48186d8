"""The tests that need a GPU, in a process of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as Xml
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.gpu.command import ROOT, Budget, Device, Output

SHUTDOWN_S = 20.0
"""Seconds that pytest has to write what it has after SIGINT."""


def gpu_tests(output: Output, device: Device, budget: Budget) -> Mapping[str, Any]:
    """Run all tests marked `gpu`; how many passed, failed or were skipped, and the failures' text.

    Warnings are not errors here: drivers and other versions of torch have their own.
    """
    files = sorted(
        str(p) for p in (ROOT / "tests").rglob("test_*.py") if "mark.gpu" in p.read_text()
    )
    report = output.work / "junit.xml"
    report.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", "-W", "default"]
    command += ["-p", "no:cacheprovider", f"--junitxml={report}", *files]
    path = [str(ROOT / "src"), str(ROOT), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    with (output.work / "log").open("w") as log:
        running = subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT
        )
        was_cut = not ended(running, budget.left_s - SHUTDOWN_S)
    tail = (output.work / "log").read_text(errors="replace")[-6000:]
    found = {"files": len(files), "exit_status": running.returncode, **outcomes(report)}
    found["log_tail"] = tail.splitlines()[-60:]
    heads = ["passed", "failed", "skipped"]
    found["table"] = [heads, [found[head] for head in heads]]
    if not was_cut and running.returncode not in (0, 5):
        output.save(found)
        raise RuntimeError(f"pytest ended with {running.returncode}: {found['failed']} failed")
    return {**found, "unfinished": was_cut}


def ended(running: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait for the process; False where it had to be stopped."""
    try:
        running.wait(max(seconds, 1.0))
        return True
    except subprocess.TimeoutExpired:
        running.send_signal(signal.SIGINT)  # pytest writes its report
        try:
            running.wait(SHUTDOWN_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()
        return False
    except BaseException:
        running.kill()
        running.wait()
        raise


def outcomes(report: Path) -> dict[str, Any]:
    """Counts, seconds by test, and the failures of a JUnit file."""
    found: dict[str, Any] = {
        "passed": 0,
        "failed": 0,
        "skipped": 0,
        "failures": {},
        "seconds_by": {},
    }
    if not report.exists():
        return found
    for case in Xml.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        wrong = [*case.iter("failure"), *case.iter("error")]
        kind = "failed" if wrong else "skipped" if case.find("skipped") is not None else "passed"
        found[kind] += 1
        found["seconds_by"][name] = float(case.get("time", 0))
        if wrong:
            found["failures"][name] = (wrong[0].text or str(wrong[0].get("message")))[-1500:]
    return found
