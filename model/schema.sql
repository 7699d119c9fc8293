-- Written by make gen from model/migrations. DO NOT EDIT.

CREATE TABLE `wx_userinfo` (
  `id` bigint NOT NULL AUTO_INCREMENT,
  `openid` varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL COMMENT 'WeChat id of the user within this app, compared byte by byte',
  `unionid` varchar(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '' COMMENT 'WeChat id of the user across the apps of one owner, empty when WeChat does not tell',
  `nick_name` varchar(255) NOT NULL DEFAULT '',
  `avatar_url` varchar(512) NOT NULL DEFAULT '',
  `gender` varchar(16) NOT NULL DEFAULT '' COMMENT '0 unknown, 1 male, 2 female, or empty',
  `city` varchar(255) NOT NULL DEFAULT '',
  `province` varchar(255) NOT NULL DEFAULT '',
  `country` varchar(255) NOT NULL DEFAULT '',
  `language` varchar(16) NOT NULL DEFAULT '' COMMENT 'as WeChat names it, such as zh_CN',
  `phone` varchar(255) NOT NULL DEFAULT '',
  `group` varchar(255) NOT NULL DEFAULT '' COMMENT 'groups of the user, set by the operator',
  `rg` tinyint(1) NOT NULL DEFAULT 1 COMMENT '1: red rises and green falls',
  `only20` tinyint(1) NOT NULL DEFAULT 0 COMMENT '1: only the 20-day line',
  `vip` tinyint(1) NOT NULL DEFAULT 0,
  `capacity` int NOT NULL DEFAULT 5 COMMENT 'how many entries the user may keep',
  `session_epoch` bigint NOT NULL COMMENT 'random, never 0; a new value ends all sessions of the user',
  `last_login_at` datetime(3) NOT NULL COMMENT 'UTC',
  `created_at` datetime(3) NOT NULL COMMENT 'UTC',
  `updated_at` datetime(3) NOT NULL COMMENT 'UTC, of the profile and settings, not of logins',
  PRIMARY KEY (`id`),
  UNIQUE KEY `uk_wx_userinfo_openid` (`openid`)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_unicode_ci;
