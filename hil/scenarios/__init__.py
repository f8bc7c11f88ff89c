"""What happens at a charger, written against a bench only."""
