"""
A typed client of Tether's HTTP API, and the command `tether`.

```py
from tether_client import Client

with Client("https://tether.example", api_key=key) as tether:
    upload = tether.await_upload(tether.add_upload(path).id)
    run = tether.order_run(upload.id, RunOrder(due_item="2026-03"))
```

`Client` has a method for each route. The methods and structs of a subject are in its module: `uploads`, `billing`, `payments`, `refunds`,
`inquiry_orders`, `notifications`, `blacklist`, `bulk_orders`, `debtors`, `erasures`, `reconciliation`, `recurring`, `figures`, `subscribers`, `operation`,
`accounts`, `preflight`, `return_policies`, `people`, `events` and `health`. Fields that a newer Tether adds are ignored. Names of states are plain texts for the same reason. `connection`
makes the requests, and `errors` says what can go wrong.
"""

from tether_client.billing import RunOrder
from tether_client.client import Client
from tether_client.credentials import Credentials
from tether_client.errors import ClientError, Defective, NotAllowed, Refused, Unavailable
from tether_client.pages import Page

__all__ = [
    "Client",
    "ClientError",
    "Credentials",
    "Defective",
    "NotAllowed",
    "Page",
    "Refused",
    "RunOrder",
    "Unavailable",
    "__version__",
]

__version__ = "0.1.0"
