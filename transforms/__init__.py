"""What is done to the data: a few PTransforms over plain functions, in the order data flows."""
