"""Words for everyday queries that no dictionary entry covers: colours, moods, and combinations of them."""

from __future__ import annotations

COLOURS = {
    "white": ("白色", "白"), "black": ("黑色", "黑"), "grey": ("灰色", "灰"), "red": ("红色", "红"),
    "orange": ("橙色", "橙"), "yellow": ("黄色", "黄"), "green": ("绿色", "绿"), "blue": ("蓝色", "蓝"),
    "purple": ("紫色", "紫"), "pink": ("粉色", "粉"), "brown": ("棕色", "棕"),
}  # fmt: skip
"""English → Chinese (long form, short form)."""

CREATURES = {
    "cat": "猫", "dog": "狗", "kitten": "小猫", "puppy": "小狗", "horse": "马", "bird": "鸟", "rabbit": "兔子",
    "bear": "熊", "mouse": "老鼠", "cow": "牛", "pig": "猪", "monkey": "猴子", "chicken": "鸡", "duck": "鸭子",
    "fox": "狐狸", "wolf": "狼", "lion": "狮子", "tiger": "老虎", "frog": "青蛙", "fish": "鱼", "panda": "熊猫",
    "sheep": "羊", "snake": "蛇", "dragon": "龙", "unicorn": "独角兽", "elephant": "大象", "penguin": "企鹅",
}  # fmt: skip

THINGS = {
    "heart": "爱心", "car": "汽车", "flower": "花", "apple": "苹果", "book": "书", "hat": "帽子", "shirt": "衬衫",
    "house": "房子", "ball": "球", "circle": "圆形", "square": "方形", "flag": "旗子", "shoe": "鞋", "cup": "杯子",
    "hair": "头发", "eye": "眼睛", "tree": "树", "star": "星星", "cake": "蛋糕", "bag": "包", "dress": "裙子",
}  # fmt: skip

MOODS = {
    "angry": "生气", "happy": "开心", "sad": "难过", "crying": "哭", "laughing": "大笑", "smiling": "微笑",
    "surprised": "惊讶", "scared": "害怕", "tired": "累", "sleepy": "困", "confused": "困惑", "shy": "害羞",
    "in love": "恋爱", "bored": "无聊", "sick": "生病", "cool": "酷", "cute": "可爱", "funny": "搞笑",
    "shocked": "震惊", "proud": "得意", "embarrassed": "尴尬", "thinking": "思考", "winking": "眨眼",
}  # fmt: skip

SUBJECTS = {"face": "脸", "cat": "猫", "dog": "狗", "person": "人", "man": "男人", "woman": "女人", "baby": "宝宝",
            "boy": "男孩", "girl": "女孩", "monkey": "猴子", "smiley": "笑脸"}  # fmt: skip

PLAIN = {
    "smile": "微笑", "smiling": "笑", "angry": "生气", "anger": "愤怒", "furious": "暴怒", "cry": "哭", "laugh": "大笑",
    "lol": "哈哈", "haha": "哈哈哈", "love": "爱", "thumbs up": "点赞", "thumbs down": "差评", "good": "好",
    "no": "不行",
    "yes": "可以", "ok": "好的", "thank you": "谢谢", "sorry": "对不起", "goodbye": "再见", "hello": "你好",
    "good night": "晚安", "good morning": "早安", "awesome": "厉害", "great": "牛", "speechless": "无语",
    "facepalm": "捂脸", "shocked": "震惊", "party": "派对", "money": "钱", "tired": "累了", "sleep": "睡觉",
    "eating": "吃", "hungry": "饿", "drunk": "醉", "dancing": "跳舞", "running": "跑", "fear": "害怕",
}  # fmt: skip


def composed() -> list[tuple[list[str], str]]:
    """(student texts, teacher text): every spelling of a phrase, English and Chinese, with what it means in English."""
    groups: list[tuple[list[str], str]] = []
    for colour, (long, short) in COLOURS.items():
        groups.append(([colour, long, short], colour))
        for noun, han in {**CREATURES, **THINGS}.items():
            texts = [f"{colour} {noun}", f"{long}{han}", f"{long}的{han}", f"{short}{han}"]
            groups.append((texts, f"{colour} {noun}"))
    for mood, han_mood in MOODS.items():
        groups.append(([mood, han_mood], mood))
        for noun, han in SUBJECTS.items():
            groups.append(([f"{mood} {noun}", f"{han_mood}的{han}", f"{han_mood}{han}"], f"{mood} {noun}"))
    for word, han in {**PLAIN, **CREATURES, **THINGS, **SUBJECTS}.items():
        groups.append(([word, han], word))
    return groups
