"""How gunicorn serves: read by `manage.py serve` and, in the container image, by `gunicorn -c`."""

import gc
import logging
import os
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

try:
    settings.APP_ENV  # noqa: B018  the first look loads them
except ImproperlyConfigured as error:
    # A wrong setting is the operator's to mend: one sentence, no traceback.
    sys.exit(f"Configuration error: {error}")

_host = f"[{settings.APP_HOST}]" if ":" in settings.APP_HOST else settings.APP_HOST
bind = f"{_host}:{settings.APP_PORT}"

# Threads, since a request mostly waits for the database; processes, since threads share one interpreter lock.
worker_class = "gthread"
workers = settings.WEB_CONCURRENCY
threads = settings.WEB_THREADS

# Loaded once and then forked: workers share the memory of the code and are up at once, and an application that can't
# be imported ends the start instead of being tried again for ever. In return SIGHUP does not bring new code.
preload_app = True

timeout = 60  # seconds without a sign of life from a worker's main thread before it is replaced
graceful_timeout = 10  # seconds that requests in flight have at a stop
keepalive = 5  # seconds that an idle connection is kept for the next request

limit_request_line = 8190  # bytes; signed artifact URLs are long
limit_request_fields = 100  # headers
limit_request_field_size = 8190  # bytes; the largest header is the access token

# Workers touch a file there every second: on a disk that is busy the touch could wait, and the worker be killed.
worker_tmp_dir = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108

# It would lie in a folder that two checkouts share.
control_socket_disable = True

_BODY_PIECE_BYTES = 65_536

accesslog = None  # the proxy in front has it, and addresses of learners are not kept twice
errorlog = "-"
loglevel = "warning"


def when_ready(server: Any) -> None:
    """Keep the garbage collector off what was loaded before the workers are forked: it never goes, and is shared."""
    gc.collect()
    gc.freeze()


def pre_fork(server: Any, worker: Any) -> None:
    """Close the database connections of this process: two that talk over one socket would mix up their answers."""
    connections.close_all()


def pre_request(worker: Any, req: Any) -> None:
    """Free the thread of a client that stalls in its body or in taking the answer: phones lose their network.

    The body is taken in larger pieces than gunicorn's 8 KiB: at each one another thread may take the interpreter.
    """
    req.unreader.sock.settimeout(settings.CLIENT_STALL_SECONDS)
    req.unreader.mxchunk = _BODY_PIECE_BYTES


def post_worker_init(worker: Any) -> None:
    _end_at_once_when_told(worker)
    _free_threads_of_stalled_heads(worker)


def _free_threads_of_stalled_heads(worker: Any) -> None:
    """Time out the reading of a request's head, before which gunicorn has no hook.

    Accepted sockets inherit the time-out of the listener. Both kinds of it are ordinary on bad networks: gunicorn
    would log each as an error, with a traceback.
    """
    timeout = struct.pack("ll", settings.CLIENT_STALL_SECONDS, 0)
    for listener in worker.sockets:
        listener.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, timeout)
    worker.log.error_log.addFilter(_is_no_stall)


def _is_no_stall(record: logging.LogRecord) -> bool:
    return not (record.exc_info and isinstance(record.exc_info[1], TimeoutError | BlockingIOError))


def _end_at_once_when_told(worker: Any) -> None:
    """End a worker at once when it is told to quit, and let only the parent answer Ctrl-C, which reaches all.

    gunicorn's own handler takes a lock of the thread pool, and waits for ever when the signal arrives while that lock
    is held: by a request that is just handed to a thread, or by the handler itself at the second signal.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGQUIT, lambda _number, _frame: os._exit(0))
