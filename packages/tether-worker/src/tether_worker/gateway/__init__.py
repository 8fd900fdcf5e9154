"""Calls of the gateway: connections, the requests that go over them, and the accounts of this process."""
