"""Figures that a utility is led by, each in its own file with its definition. Pure functions over arrays.

groups      who is counted to what          success     was it collected          load, voltage   how it was used, and supplied
keyusers    who must not be overlooked      forecast    what tomorrow will take   response        what a call to save has brought
outage      where the light was out         segments    what kind of customer
"""
