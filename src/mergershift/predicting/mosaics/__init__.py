"""Images of a catalogue's objects, cut out of mosaics."""
