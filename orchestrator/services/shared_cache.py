"""What all web processes remember together for a while: counts that are shown again and again, kept beside the broker.

Nothing hangs on it: while it is away, whatever is asked for is counted anew, and no page fails or waits for it.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

_UNASKED = 5.0  # seconds for which it is not asked again after it failed
_T = TypeVar("_T")


class PlainSerializer:
    """JSON: who can write to the broker must not thereby run code here, as with pickled values."""

    def dumps(self, value: Any) -> bytes:
        return json.dumps(value).encode()

    def loads(self, data: Any) -> Any:
        return json.loads(data)


class _Client(RedisCacheClient):
    """What is needed of a cache, and never an error."""

    _ask_again = 0.0

    def add(self, key: Any, value: Any, timeout: Any) -> bool:
        return self._asked(lambda: super(_Client, self).add(key, value, timeout), otherwise=False)

    def get(self, key: Any, default: Any) -> Any:
        return self._asked(lambda: super(_Client, self).get(key, default), otherwise=default)

    def set(self, key: Any, value: Any, timeout: Any) -> None:
        self._asked(lambda: super(_Client, self).set(key, value, timeout), otherwise=None)

    def get_many(self, keys: Iterable[Any]) -> dict[Any, Any]:
        wanted = list(keys)
        return self._asked(lambda: super(_Client, self).get_many(wanted), otherwise={}) if wanted else {}

    def clear(self) -> bool:
        raise NotImplementedError("It would take the broker's queues away too.")

    def _asked(self, ask: Callable[[], _T], *, otherwise: _T) -> _T:
        if time.monotonic() < self._ask_again:
            return otherwise
        try:
            return ask()
        except (RedisError, OSError, ValueError) as error:
            self._ask_again = time.monotonic() + _UNASKED
            logger.warning("The cache is away, what it held is counted anew: %s", error)
            return otherwise


class SharedCache(RedisCache):
    """Django's Redis cache that is never missed."""

    def __init__(self, server: str | list[str], params: dict[str, Any]) -> None:
        super().__init__(server, params)
        self._class = _Client
