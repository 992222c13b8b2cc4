"""Builds of a language model beside those of other toolkits: accuracy, size, memory and speed."""
