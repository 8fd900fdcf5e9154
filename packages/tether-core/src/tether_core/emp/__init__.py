"""
The emerchantpay gateway ("Genesis"): signatures, notifications, requests and responses.

A gateway is one folder with the same modules and verbs, and knows nothing of the rules built on it:

| module | verbs |
|---|---|
| `signature` | `verify` checks that a notification is genuine; `sign` makes such a signature |
| `notification` | `decode` reads a notification; `acknowledge` writes the answer that ends its repeats |
| `requests` | `sdd_sale`, `sdd_refund`, `void`, `reconcile` and others build requests |
| `responses` | `read_answer`, `read_transactions` and `read_chargebacks` read response bodies |
| `http_response` | `submitted`, `inquired` and `listed` say what an HTTP response proves |
| `codes` | `meaning` and `error_meaning` explain statuses, events and error codes |
| `countries` | the countries whose accounts the gateway debits |

`document` reads and writes XML for these modules and is private to the folder. `tests/tidy/test_imports.py` checks who imports what.
"""
