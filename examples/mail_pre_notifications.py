"""
Mail the pre-notifications that are to be given, and state that they were given.

    export TETHER_URL=http://localhost:8000 TETHER_API_KEY=sandbox-key
    export MAIL_SERVER=mail.example:587 MAIL_FROM="Example club <club@example.org>" MAIL_USER=club MAIL_PASSWORD=...
    python examples/mail_pre_notifications.py

Run it every hour, and once at a time. A pre-notification is stated as given after the mail server has taken it; one that is mailed again after a crash in between has the same
Message-ID. Debtors without an e-mail address are left for a letter, and are counted.
"""

import os
import smtplib
import sys
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr

from tether_client import Client

sender = parseaddr(os.environ["MAIL_FROM"])[1]
host, _, port = os.environ["MAIL_SERVER"].partition(":")
given: list[int] = []
refused = without = 0
tether = Client(os.environ["TETHER_URL"], api_key=os.environ["TETHER_API_KEY"])
with smtplib.SMTP(host, int(port or 25), timeout=60) as server:
    if "MAIL_USER" in os.environ:
        server.starttls()
        server.login(os.environ["MAIL_USER"], os.environ["MAIL_PASSWORD"])
    cursor = None
    while True:
        page = tether.pre_notifications(status="made", cursor=cursor, limit=200)
        for notice in page.items:
            if not notice.email:
                without += 1
                continue
            mail = EmailMessage()
            mail["From"] = os.environ["MAIL_FROM"]
            mail["Message-ID"] = f"<pre-notification-{notice.id}@{sender.rpartition('@')[2]}>"
            mail["Subject"] = f"{notice.due_on:%d.%m.%Y}: {notice.amount_minor / 100:.2f} {notice.currency}"
            mail.set_content(notice.text)
            try:
                mail["To"] = Address(notice.name, addr_spec=notice.email)
                server.send_message(mail)
            except (ValueError, smtplib.SMTPRecipientsRefused):
                refused += 1  # a letter, then; the address is in no log
            else:
                tether.give_pre_notifications([notice.id])
                given.append(notice.id)
        cursor = page.next
        if cursor is None:
            break
print(f"{len(given)} mailed, {without} without an e-mail address, {refused} refused by the mail server")
sys.exit(1 if refused else 0)
