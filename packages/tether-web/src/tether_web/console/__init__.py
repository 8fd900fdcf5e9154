"""
The console: the API as pages that a person can read and use, at `/`.

- `api`: a page calls the API of its own process with the person's session, so page and API show and do the same;
- `listings`: the lists as values: where they come from, their filters and columns;
- `pages`: the routes that are read, `actions`: the routes that change something;
- `formats`: money, times and states as text; `templates/` and `static/` beside.

Pages are rendered here and work without JavaScript. Scripts and styles come from this address only, as whole files.
"""

__all__: list[str] = []
