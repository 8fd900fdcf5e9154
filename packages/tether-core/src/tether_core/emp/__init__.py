"""
The emerchantpay gateway ("Genesis"): what it signs, sends, asks for and answers.

One gateway is one folder with the same verbs: `signature.verify` says whether a notification is genuine,
`notification.decode` reads it, `notification.acknowledge` writes the answer that ends its repeats,
`xml` builds requests and reads answers, `codes` holds every status, event and error code.
"""
