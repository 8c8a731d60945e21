"""The pages of routing: rules, destinations, deliveries."""
