"""Hand-labelled texts for the counter of slips: (text, doubled, merged, missing)."""

from __future__ import annotations

Case = tuple[str, int, int, int]

#: Plain prose with nothing wrong in it.
CLEAN: tuple[Case, ...] = tuple(
    (text, 0, 0, 0)
    for text in (
        "To find the total cost, we multiply the price of one ticket by the number of tickets.",
        "Each of the five boxes holds twelve pencils, so there are 60 pencils in all.",
        "She had had three apples before she gave one away.",
        "He said that that was the remainder.",
        "It takes a very very long time to list all the factors.",
        "The denominator is larger than the numerator, so the fraction is less than one.",
        "Let's subtract the discount from the subtotal; that's what they'll pay.",
        "The hypotenuse of a right-angled triangle is opposite the right angle.",
        "Therefore, the least common multiple of the two numbers is 36.",
        "The perimeter is the sum of the lengths of its sides.",
        "What the number is made of, is not asked. What we start from is 12.",
        "The speed that he drives at is 40 miles per hour.",
        "The amount she started with is what we are looking for.",
        "This is the number we divide by. Is it even? It is.",
        "Step 1: Determine the number of weekdays. Step 2: Determine the pay per day.",
        "**Total** cupcakes: 24\n**Total** jellybeans: 36",
        "Add the tens, then the ones, then the hundreds.",
        "Jada's teammates scored fourteen points; Jada herself scored nine.",
        "The polynomial's coefficients are integers, and its discriminant is non-negative.",
        "First-year students pay half; second-year students pay two-thirds.",
        "Rearranging and simplifying gives a quadratic equation in one variable.",
        "We loop over the list with a for loop and count the items in the list.",
        "If he buys 3, he pays for 2. If she buys 2, she pays for 2.",
        "No, no, the answer isn't negative: a length can't be.",
        "The answer is yes. Yes, because both are even.",
        "I owe you, you owe me. In, in short, nothing.",
        "How many can the bus hold? How long will the trip take? It's 3 hours.",
        "That's what the shop's owner wants to do; let's see who's right.",
        "Since she has 3, and therefore she wants 2, we let them find how much is left - if we can.",
        "So the number of chairs, as far as we can tell, is even; she wants to let the dog out.",
        "By PEMDAS the two coprime numbers are next.",
        "The MeanTime scale is not OpenAIs; a manOfWar is a ship.",
        "The will leaves each of them half. We, the jury, agree.",
        "Angle1 is half of Angle2; see part 2b and e.g. the U.S. total, i.e. all of it.",
        "An hour is sixty minutes and a minute is sixty seconds.",
        "The sum of 7 and 5 is 12, of which 4 is a third.",
        "That is, what remains is the amount of money left.",
        "The isosceles trapezoid has two equal legs; the rhombus has four.",
    )
)

#: LaTeX, code, numbers and tables with nothing wrong in them.
FORMULAS: tuple[Case, ...] = tuple(
    (text, 0, 0, 0)
    for text in (
        r"The sum of $a$ and $b$ is $a+b$, so \( a \) is the difference of $a+b$ and $b$.",
        r"\[ \text{Total} = \text{Total eggs} \times \text{eggs eggs} \]",
        r"The product of \(x\) is the same as the product of \( y \) by the law.",
        r"Thus \frac{\text{the of}}{\text{of is}} reduces, and the answer is \boxed{\text{the the}}.",
        "He pays $5 for the hat and $3 for the cap, so $8 in all.",
        "```python\ntotaleggs totaleggs = the the of is\nfor for in in range(3): pass\n```",
        "The variable `numeggsleft numeggsleft` holds the number of `eggs`, and of `hens` is said nothing.",
        "The function total_eggs(total_eggs) calls computeTotalEggs and returns x_total_value.",
        "2 2 2 = 2 * 2 * 2, or 2^3; 10 10 is a pair.",
        "| item | item price |\n|---|---|\n| hat | $5 |\n| hat | $6 |",
        "Here x, x and y are lengths; a is the side, b is the base of the figure.",
        r"Since $\sin x = \frac{1}{2}$, we have $x = 30^\circ$ or $x = 150^\circ$.",
        r"\begin{align*} thenumberof &= thenumberof \\ of is &= 3 \end{align*} That is the result.",
        "The text begins a program:\n```\nprint(thisisnoword, thisisnoword)",
        "See https://example.org/thisisnoword/thisisnoword for the table.",
    )
)

#: Something is wrong.
BROKEN: tuple[Case, ...] = (
    ("The numberof eggs is five.", 0, 1, 0),
    ("First we count the number number of eggs.", 1, 0, 0),
    ("The total total cost of of the tickets is $12.", 2, 0, 0),
    ("So each of them them gets four.", 1, 0, 0),
    ("Calculateetermine the price of one pencil.", 0, 1, 0),
    ("We need to calculatefind the total.", 0, 1, 0),
    ("Next, multiplyivide both sides by two.", 0, 1, 0),
    ("The number of is twelve.", 0, 0, 1),
    ("Now find the of the two lengths.", 0, 0, 1),
    ("The is twice as long as the width.", 0, 0, 1),
    ("The the number of is the the same as before.", 2, 0, 1),
    ("The remainingain balance balance is 40.", 1, 1, 0),
    ("To determineine how many many apples the of the boxes hold, we addadd them.", 1, 2, 1),
    ("Therefore, the price of by two is a half.", 0, 0, 1),
    (r"Let $x$ be the the number; then $x$ is subtractedract from from 10.", 2, 1, 0),
    ("**Stepirst:** count count the chairs.", 1, 1, 0),
    ("An of the students walks.", 0, 0, 1),
    ("We to find how many are left.", 0, 0, 1),
    ("Next we need to the price, and then they the rest.", 0, 0, 2),
    ("The train will the station at noon, and she can an hour.", 0, 0, 2),
    ("We add the totals of both ofFirst, and We's the1 first.", 0, 3, 0),
    ("There are four each.First, we's count; the's price is to's 3.", 0, 4, 0),
    ("So the7 days, andThen twelve more.", 0, 2, 0),
    ("Together there there are two, two too.", 1, 0, 0),
    ("Since gets 3 of them, therefore wants 2 more.", 0, 0, 2),
    ("So number of chairs is even. Next, let calculate how amount of wood they can to buy.", 0, 0, 4),
    ("We count those left in  - Therefore, the and she get equal12.", 0, 1, 2),
    ("FindFind the rest.1 Add his's half, then the it.", 0, 3, 1),
    ("He had had three, that that is is all.", 1, 0, 0),
    ("Firststep: divide by two. Secondlyhen: add one.", 0, 2, 0),
)

#: Something is wrong, and the counter does not see it: the labels are what it should count.
NOT_SEEN: tuple[Case, ...] = (
    ("There are 12 eggs the basket.", 0, 0, 1),
    ("Add the price and the price, the total cost the total cost is nine.", 1, 0, 0),
    ("So she has had had three more.", 1, 0, 0),
    ("The number\nnumber of eggs is five.", 1, 0, 0),
)
