"""A process that decodes images for a training: how long it lives, and whom it obeys."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing.process import BaseProcess

import torch


def prepare_worker(_: int) -> None:
    """One thread, and leave Ctrl-C to the training, which ends its workers once it has saved.

    The same for SIGTERM unless the training sends it: `timeout` and schedulers send it to the
    whole group, and the training must not lose its images in the middle of its last step. A worker
    ends with a training that is killed. torch's own does so where the training is its parent, which
    it is not if Python starts processes by a fork server (its usual way from 3.14 on).
    """
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    training = multiprocessing.parent_process()
    if training is None or training.pid is None:
        return
    if sys.platform == "linux":  # elsewhere no one can know who sent a signal
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_obey, args=(training.pid,), daemon=True).start()
    threading.Thread(target=_end_with, args=(training,), daemon=True).start()


def _obey(training: int) -> None:
    if sys.platform == "linux":
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != training:
            pass
        os._exit(0)


def _end_with(training: BaseProcess) -> None:
    training.join()
    os._exit(1)
