"""What an application imports to take part in moves: whose writes count where, and the outbox. No Django here."""
