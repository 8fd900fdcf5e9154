"""The return policy: what each reason code of a return does, as versions, and dry runs of a version over past returns."""
