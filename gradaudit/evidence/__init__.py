"""What findings show and say, made from signals: charts, sentences and advice that several diagnosers share."""
