"""`lipexp certify`: certificates and attacks in the folder of a finished training, or beside it."""
