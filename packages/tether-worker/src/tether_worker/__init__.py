"""Does the work: books notifications, reads uploads, bills, reconciles. SAQ wake-ups, rows tell the truth."""
