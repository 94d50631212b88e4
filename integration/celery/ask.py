"""Asks the worker of TestCelery and prints what it answers."""

import time
from datetime import datetime, timedelta, timezone

from celery import group
from tasks import add, flaky

print(add.delay(2, 3).get(timeout=30))
print("retries", flaky.delay().get(timeout=30))
begin = time.time()
later = add.apply_async((5, 6), eta=datetime.now(timezone.utc) + timedelta(seconds=1))
print(later.get(timeout=30), "not early" if time.time() - begin >= 1 else "early")
print("group", sum(group(add.s(i, i) for i in range(50))().get(timeout=30)))
