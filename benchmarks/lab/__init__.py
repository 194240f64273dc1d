"""The laboratory: seeded real trainings, healthy and faulty, recorded once and given to every diagnoser."""
