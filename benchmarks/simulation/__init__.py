"""A discrete-event simulation of the service, which runs the policies of the product."""
