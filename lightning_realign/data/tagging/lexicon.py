"""Words that are frequent in descriptions of motions, for the built-in tagger. Verbs and nouns are in their base form.

Parts of speech are those of HumanML3D's tokens, which follow an early spaCy: possessives and relative pronouns are
determiners, and forms of `be`, `have` and `do` are auxiliaries.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CLOSED = {
    "DET": "a an the this these those his their its my your our another some any no every each both all either neither "
    "which that what whose half",
    "PRON": "he she it they him them himself herself itself themselves themself someone somebody something anyone "
    "anything everyone everything nothing nobody who whom himslef there i you we me us each other's theirs hers mine",
    "AUX": "is are was were be been being am has have had does do did can could will would should may might must ca wo",
    "CCONJ": "and or but nor plus",
    "SCONJ": "while as if because although though whilst until whether so since once when where than",
    "ADP": "with of at from into onto for by toward towards between behind against during without within beside "
    "besides beneath under underneath above below among upon before after like via past near per until till "
    "inside outside",
    "PART": "not",
    "NUM": "two three four five six seven eight nine ten eleven twelve fifteen twenty thirty ninety hundred",
    "INTJ": "hello hi bye please yes ok okay",
}
CLOSED = {word: tag for tag, words in _CLOSED.items() for word in words.split()}

# After a verb these are its particle, before a noun phrase prepositions (both ADP), and adverbs elsewhere.
PARTICLES = _words(
    """
    up down out off over in on through across along around about by round
    """
)

ADVERBS = _words(
    """
    forward forwards backward backwards sideways sideway sidewards upward upwards downward downwards leftward
    leftwards rightward rightwards inward outward clockwise counterclockwise anticlockwise then again away together
    apart ahead aside straight fast very too slightly just still almost twice thrice back here there now also even
    once first quite nearly rather really more most less much never always often maybe perhaps soon later afterwards
    finally somewhat anymore alternately upright diagonally overhead upside afterward meanwhile instead halfway
    midway upstairs downstairs somewhere nowhere anywhere far only well hard randomly counter anti alternatively
    indoors outdoors forth repeatedly barely low high vertically how why else yet otherwise however
    """
)

ADJECTIVES = _words(
    """
    slow quick fast big small large little long short high low upper lower wide narrow heavy light full half quarter
    original initial starting same other different similar normal regular straight bent flat tight loose left right
    front rear back several many few single double multiple various happy sad angry tired drunk old young elderly
    childish proud calm careful casual exaggerated sharp sudden steady stiff strong weak soft hard gentle invisible
    imaginary open closed upright still parallel circular semicircular curved diagonal horizontal vertical clockwise
    counterclockwise sideways backward forward medium moderate brisk leisurely first second third fourth last next
    previous whole entire opposite outer inner top bottom deep tall fancy tough feminine masculine manly youthful
    exhausted energetic giant uneven unsteady unbalanced rapid slight relaxed basic able own such more most
    alternate random dominant bigger higher faster slower larger shorter quicker
    """
)

NOUNS = _words(
    """
    person people man woman men women figure human someone guy individual character body child boy girl subject
    model dancer robot zombie arm hand leg foot knee elbow shoulder head face neck chest waist hip torso thigh back
    finger fist wrist ankle toe heel palm chin mouth eye ear nose hair stomach belly side limb ground floor wall
    chair table stool bench box ball object rope ladder stair stairs step bar rail handrail handle door window car
    phone cup glass bottle bowl bat club racket sword stick golf tennis basketball baseball soccer football guitar
    violin piano drum air place spot position pose stance posture motion movement gesture direction way circle line
    path curve corner square shape degree angle front middle center top bottom end start beginning time moment
    second pace speed rate manner height level length distance meter metre centimeter inch hop jump kick punch turn
    walk run stride squat lunge dance bow wave swing throw catch push pull lift spin twist stretch bend crouch
    stumble trip fall stand jog sprint march skip crawl roll stroll cartwheel handstand flip somersault jack
    pirouette waltz salsa ballet karate boxing yoga exercise workout warm pushup situp balance beam rest break set
    series number pair couple bit lot right left clock hill slope river street room space area obstacle item thing
    something music musical mood energy pride confidence swagger style sign signal hello goodbye call visitor guide
    game player sport opponent enemy dog animal monkey chicken bird wing airplane horse water food weight load bag
    backpack suitcase shelf counter sink dish cloth towel mop broom brush knife gun rifle arrow net steering wheel
    railing ceiling building opening swimming landing jumping u t s zigzag cha form pattern sequence rhythm beat
    force impact surface platform edge tip shove half quarter fighter fight attack defense defence block guard slap
    uppercut jab hook strike hit blow clap snap drink meal smoke cigarette bucket plate tray treadmill trampoline
    skate skateboard bike ski grip hold support help while use touch look glance gaze nod shake shrug sway shuffle
    limp tiptoe dash drift slash giant manoeuvre maneuver action activity routine performance show stage partner
    friend guest baby plane shirt hat shoe pants pocket rock stone tree grass sand ice snow sky sun moon star heaven
    hurry try reach rotation
    """
)

# Words that may be nouns or verbs and are more often nouns. Other such words are taken for verbs first.
NOUN_FIRST = _words(
    """
    hand place face head back arm shoulder elbow circle box club ball position pose side line front end motion
    gesture degree time set pair bit balance rest rope bar block guard hip beat force form shape sign signal curve
    angle corner center space level pace help support game room food water phone cup bat net style model figure dog
    mood people wall ladder stage exercise second number attack
    """
)

VERBS = _words(
    """
    walk run jump turn kick punch throw catch wave sit stand step move raise lift lower bend lean bow dance hop jog
    sprint skip crawl climb kneel squat crouch lunge stretch swing spin rotate twist roll flip swim fly fall trip
    stumble slip slide shuffle stagger sway limp march stroll pace sneak tiptoe strut stomp stamp stop start begin
    continue keep stay remain rest wait pause end finish return go come get give take put place pick grab hold carry
    bring push pull drag drop toss pass hit strike slap slash jab box fight block dodge duck avoid evade defend
    attack shoot aim play perform do make use try look watch see face head reach point touch scratch rub wipe wash
    clean mix stir pour drink eat cook open close knock press shake nod shrug clap snap cross uncross fold unfold
    extend straighten tilt circle pivot balance flap flail gesture mime pretend appear seem show act imitate mimic
    resemble describe demonstrate practice exercise warm cheer salute greet call talk speak say sing laugh cry lay
    lie hang lose regain recover adjust shift change switch alternate repeat follow lead guide meet leave enter exit
    approach cover hug kiss wrap hand help support stroke strum drum bounce dribble juggle serve row paddle pedal
    ride drive steer ski skate surf dive land leap bound vault cartwheel somersault backflip retreat advance travel
    wander roam back twirl whirl wiggle wriggle squirm shimmy shiver tremble flinch jerk yank tug scoot edge inch
    creep scurry dash rush hurry charge race chase speed slow accelerate stride tread trot gallop prance bob rock
    drift hover float draw write type read paint sweep mop dig chop cut saw hammer screw fix build set sign fidget
    examine inspect check search find notice gaze stare glance peek tie untie zip dress wear remove lock grip grasp
    clench squeeze release let allow cause force want need like decide attempt prepare ready gain rise arise wake
    sleep yawn relax lounge recline bear feel think hear listen smell taste smoke work train waltz shove stick tap
    pat poke flick fling hurl pitch bowl bat putt swat smash spar guard shield spread mount dismount cradle tuck
    curl uncurl arch hunch slouch slump collapse tumble topple wring compensate simulate receive stabilize
    counterbalance form cup crisscross sidestep moonwalk become complete contain include involve interact mean
    realize sink bump flex hike jiggle beckon crank assume proceed thrust veer weave zigzag orbit
    """
)

IRREGULAR_VERBS = {
    form: base
    for base, forms in {
        "sit": "sat",
        "stand": "stood",
        "bend": "bent",
        "run": "ran",
        "go": "went gone goes",
        "do": "done doing",
        "have": "having",
        "take": "took taken",
        "get": "got gotten",
        "give": "gave given",
        "come": "came",
        "make": "made",
        "hold": "held",
        "keep": "kept",
        "throw": "threw thrown",
        "catch": "caught",
        "fall": "fell fallen",
        "fly": "flew flown",
        "kneel": "knelt",
        "lie": "lying lain",
        "lay": "laid",
        "lean": "leant",
        "lose": "lost",
        "bring": "brought",
        "spin": "spun",
        "swing": "swung",
        "strike": "struck",
        "shake": "shook shaken",
        "begin": "began begun",
        "rise": "rose risen",
        "see": "saw seen",
        "say": "said",
        "hang": "hung",
        "lead": "led",
        "leave": "leaving leaves",
        "swim": "swam swum",
        "stick": "stuck",
        "sing": "sang sung",
        "drink": "drank",
        "eat": "ate eaten",
        "draw": "drew drawn",
        "drive": "drove driven",
        "ride": "rode ridden",
        "wear": "wore worn",
        "write": "wrote written",
        "find": "found",
        "feel": "felt",
        "fight": "fought",
        "shoot": "shot",
        "sweep": "swept",
        "sleep": "slept",
        "slide": "slid",
        "tie": "tying",
        "think": "thought",
        "tell": "told",
        "meet": "met",
    }.items()
    for form in forms.split()
}
IRREGULAR_NOUNS = {
    "feet": "foot",
    "men": "man",
    "women": "woman",
    "children": "child",
    "people": "people",
    "knives": "knife",
    "halves": "half",
    "shelves": "shelf",
    "stairs": "stair",
    "pants": "pant",
}
