"""Wake-ups by SAQ, and when periodic tasks last ran."""
