"""Does the work: books notifications, reads uploads, bills, reconciles. SAQ rings, rows tell the truth."""
