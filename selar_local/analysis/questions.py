"""Short reasoning questions that a calibration asks where the user gives none. All written for this package."""

from __future__ import annotations

__all__ = ["QUESTIONS"]

#: Word problems, number sense, logic, common sense, planning, in turns: the first few are a fair sample too.
QUESTIONS: tuple[str, ...] = (
    "A bakery sells rolls in bags of 6 and buns in bags of 4. A school orders 9 bags of rolls and 7 bags of buns. "
    "How many pieces does the school get, and how many are left over if each of its 25 pupils takes 3?",
    "Every violinist in our orchestra can read music. Some people who read music cannot sing. Petra plays the violin. "
    "Which of these follows for certain: Petra can read music; Petra cannot sing? Explain step by step.",
    "You find a wet umbrella in the hall, dry streets outside, and a running lawn sprinkler beside the front path. "
    "What most likely happened? Weigh at least two explanations against each other.",
    "I have one oven and two dishes. The bread needs 20 minutes of rising and then 40 minutes in the oven; the gratin "
    "needs 15 minutes of preparation and 35 minutes in the oven. They do not fit in together. What is the earliest "
    "time both can be done if I start at 17:00? Give the schedule.",
    "A cyclist rides 18 km at 12 km/h, rests for 20 minutes, and goes back by a train of 54 km/h. How long is she away "
    "altogether? Think step by step.",
    "Which is larger, 7/12 or 4/7? Show how you can tell without a calculator, and then find a fraction between them.",
    "A chest has three drawers, and the keys, the stamps and the batteries are in one drawer each. The keys are not in "
    "the top drawer, and the stamps are not in the bottom one. List every arrangement that is possible, and say which "
    "further hint would leave a single one.",
    "A plant on the window sill has yellow leaves although it is watered every day. Name the likely causes, and say in "
    "which order you would check them and why.",
    "Tom is older than Mia. Jan is younger than Lea, but older than Tom. Nobody is of the same age. Put the four in "
    "order from the oldest to the youngest and justify every place.",
    "A water tank loses a tenth of what is in it every hour. It holds 500 litres at noon. How much is left at 15:00, "
    "and in which hour does it fall below half?",
    "Three friends want to reach a village 12 km away. They walk at 4 km/h and have one bicycle, which carries one "
    "person at 16 km/h and may be left at the roadside for the next. Make a good plan: when does the last arrive?",
    "What is the last digit of a product of fifty threes? Find the pattern and explain it.",
    "Why does a metal spoon feel colder than a wooden one in the same room, although both have the same temperature? "
    "Reason it through for someone who has never had physics.",
    "A shop first raises the price of a coat by 25 percent and then takes 20 percent off the new price. Another shop "
    "does it the other way round. Which customer pays less for a coat that cost 80 euros before?",
    "You want to read a book of 336 pages in two weeks, but you have no time on the four weekend days in them. You "
    "read 30 pages an hour. How long must you read on each of the other days? Is that realistic beside a job?",
    "A bag holds 5 red, 4 blue and 3 green marbles. How many must you draw in the dark to be sure of two of the same "
    "colour, and how many to be sure of a red one? Explain the difference.",
    "Six parcels weigh 2, 3, 5, 7, 8 and 11 kg. Can they be put on three shelves so that each shelf carries the same "
    "weight? Find a way, or show that there is none.",
    "It is Tuesday. Ines has a lesson every third day, and the last one was yesterday; Karl swims every fourth day, "
    "and he swam today. On which weekday do both fall on the same day for the first time?",
    "Someone says: whenever it rains, the street is wet; the street is wet, so it must have rained. Is that a sound "
    "conclusion? Say what is wrong with it, or why it holds.",
    "A rectangle is 3 cm longer than it is wide, and its area is 88 square centimetres. Find its sides and check them.",
    "You must cook for 6 guests, one of whom eats no meat and one no nuts, for at most 40 euros and in at most two "
    "hours. Plan a menu of two courses with a rough list of costs, and the order of work.",
    "One clock gains 4 minutes a day, another loses 2 minutes a day. Both are set right on Monday at noon. When do "
    "they differ by half an hour for the first time, and what does each of them show then?",
    "A candle of 24 cm burns down 2 cm an hour, another of 30 cm burns down 3 cm an hour. Both are lit at 19:00. When "
    "are they of the same height, and which of them goes out first?",
    "The lift in an office block stops working every day at about noon, and works again half an hour later. Think of "
    "three explanations, and for each of them of an observation that would speak against it.",
)
